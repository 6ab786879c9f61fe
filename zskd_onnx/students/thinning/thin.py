"""A thinner version of an ONNX classifier: the same graph with fewer channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.events import OnProgress, ignore_progress
from zskd_onnx.importer.file.source import ORIGIN
from zskd_onnx.importer.file.subgraph import keep_only
from zskd_onnx.importer.write_back import read_original
from zskd_onnx.students.thinning.feeds import feeds_of, file_batch
from zskd_onnx.students.thinning.groups import ChannelGroups, find_groups
from zskd_onnx.students.thinning.observed_graph import Feeds, observe
from zskd_onnx.students.thinning.prove import prove
from zskd_onnx.students.thinning.remove import remove
from zskd_onnx.students.thinning.select_channels import Widths, select_by_error, select_by_norm
from zskd_onnx.students.thinning.weighted_readers import read_weights
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.teacher import Teacher

BATCHES = (1, 2, 3)
"""Batch sizes at which a thinned graph is compared with the full one."""

MAX_BATCH = 64
MEMORY = 2**29
"""Largest size of the teacher's activations for a batch of samples, bytes."""


@dataclass(frozen=True)
class Thinned:
    """A thinned graph that passed its proof.

    Attributes:
        model: content of its file.
        difference: largest relative difference of the proof.
        remaining: value -> its axis that lost positions, and the indices of those that remain; values of which several
            axes lost some are left out.
    """

    model: onnx.ModelProto
    difference: float
    remaining: Mapping[str, tuple[int, np.ndarray]]


def teacher_groups(teacher: Teacher) -> ChannelGroups:
    """The groups of channels of a teacher's graph.

    Raises:
        UnsupportedTeacherError: no channel may be removed.
    """
    groups = all_groups(teacher)
    expect_groups(teacher, groups)
    return groups


def expect_groups(teacher: Teacher, groups: ChannelGroups) -> None:
    """Raise UnsupportedTeacherError if no channel of a teacher's graph may be removed."""
    if not groups.groups:
        reasons = ", ".join(
            f"{stay.held_by} holds the {stay.width} channels of {stay.node}" for stay in groups.held[:3]
        )
        raise UnsupportedTeacherError(
            f"{teacher.source.path}: the graph has no channels that could be removed"
            f"{f' ({reasons})' if reasons else ''}; choose another student"
        )


def all_groups(teacher: Teacher) -> ChannelGroups:
    """The groups of channels of a teacher's graph; there may be none.

    The graph has the outputs for the classes and the labels, and the nodes behind them.
    """
    model = read_original(teacher.source.model.meta[ORIGIN])
    keep_only(model, [teacher.output.name, *(label.name for label in teacher.labels)])
    return find_groups(observe(model, random_feeds(teacher, file_batch(teacher) or 2)))


def thin(
    teacher: Teacher,
    groups: ChannelGroups,
    widths: Widths,
    samples: Tensor | None = None,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> Thinned:
    """The teacher's graph with fewer channels.

    Args:
        groups: from ``teacher_groups``.
        widths: name of each group -> number of channels that remain.
        samples: (N, *shape) in the unit space; the errors that the thinned layers make on them decide which channels
            remain, and weights are re-fitted (``select_by_error``). None keeps the channels with the largest weights.
        seed: of the positions at which layers are sampled.
        on_progress: is called with the share of the choice of channels that is done.

    Raises:
        UnsupportedTeacherError: the thinned graph is not what it should be; see ``prove``.
    """
    weights = read_weights(groups.graph.proto)
    batch = file_batch(teacher)
    if samples is None:
        selection = select_by_norm(groups, weights, widths)
    else:
        size = batch or teacher.cost.batch_size(MAX_BATCH, MEMORY)
        parts = [part for part in samples.split(size) if batch is None or len(part) == size]
        rng = rng_for(seed, "thin", "positions")
        batches = (feeds_of(teacher, part) for part in parts)
        selection = select_by_error(groups, weights, widths, batches, sum(map(len, parts)), rng, on_progress)
    removed = set(selection.removed)
    proofs = [random_feeds(teacher, count) for count in ((batch,) if batch else BATCHES)]
    difference = prove(groups, removed, remove(groups, removed), proofs)
    remaining: dict[str, list[tuple[int, np.ndarray]]] = {}
    for (value, axis), mask in groups.masks(removed).items():
        remaining.setdefault(value, []).append((axis, np.flatnonzero(mask)))
    single = {value: axes[0] for value, axes in remaining.items() if len(axes) == 1}
    return Thinned(remove(groups, removed, selection.weights), difference, single)


def random_feeds(teacher: Teacher, count: int) -> Feeds:
    """Random samples as the teacher's file takes them; the same for the same count."""
    return feeds_of(teacher, torch.rand((count, *teacher.domain.shape), generator=rng_for(0, "thin", count)))
