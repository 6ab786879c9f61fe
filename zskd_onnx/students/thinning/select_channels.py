"""Which channels of each group remain, and the weights that make up for the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zskd_onnx.events import OnProgress
from zskd_onnx.students.pruning.optimal_brain_surgeon import (
    ReadingLayer,
    products_work,
    prune_shared_channels,
    removal_work,
)
from zskd_onnx.students.thinning.groups import ChannelGroups, Group
from zskd_onnx.students.thinning.observed_graph import Feeds
from zskd_onnx.students.thinning.weighted_readers import WeightedReader, input_products, weighted_readers

MOST_STEPS = 32
"""Steps in which Optimal Brain Surgeon thins a group; a wide group loses several channels a step."""

Widths = Mapping[str, int]


@dataclass(frozen=True)
class Selection:
    """The result.

    Attributes:
        removed: numbers of the channels that are removed.
        weights: initialiser -> content, for those that are re-fitted.
    """

    removed: frozenset[int]
    weights: dict[str, np.ndarray]


def select_by_norm(groups: ChannelGroups, weights: Mapping[str, np.ndarray], widths: Widths) -> Selection:
    """Keep the channels whose weights, where they are read, have the largest norm. No samples are needed."""
    norms: dict[int, float] = {}
    for reader in groups.readers:
        name = groups.graph.nodes[reader.node].inputs[reader.input]
        channels = groups.channel_of.get((name, reader.axis))
        if channels is None or name not in weights:
            continue
        squares = np.square(np.moveaxis(weights[name], reader.axis, 0).astype(np.float64)).reshape(len(channels), -1)
        for channel, square in zip(channels.tolist(), squares.sum(1).tolist(), strict=True):
            norms[channel] = norms.get(channel, 0.0) + square
    removed: set[int] = set()
    for group in groups.groups:
        ranked = sorted(group.channels, key=lambda channel: norms.get(channel, 0.0), reverse=True)
        removed |= set(ranked[widths[group.name] :])
    return Selection(frozenset(removed), {})


def select_by_error(
    groups: ChannelGroups,
    weights: Mapping[str, np.ndarray],
    widths: Widths,
    batches: Iterable[Feeds],
    samples: int,
    rng: torch.Generator,
    on_progress: OnProgress,
) -> Selection:
    """Keep the channels that the layers which read them miss most, and re-fit the weights of these layers.

    The errors of all layers that read a group are summed (``prune_shared_channels``). Groups of which no weights can be
    re-fitted are thinned as in ``select_by_norm``.

    Args:
        batches: inputs of the graph, in batches.
        samples: number of samples in all batches.
        rng: draws the positions at which layers are sampled.
        on_progress: is called with the share of the work that is done.
    """
    thinned = [group for group in groups.groups if widths[group.name] < group.width]
    of_groups = {channel for group in thinned for channel in group.channels}
    readers = [r for r in weighted_readers(groups, weights) if of_groups & set(r.channels.tolist())]
    matrices = {r.weight: torch.from_numpy(r.matrix(weights[r.weight]).astype(np.float64)) for r in readers}
    sizes = {name: matrix.shape[1] for name, matrix in matrices.items()}
    done = sum(map(products_work, sizes.values()))
    total = max(1.0, done + sum(map(removal_work, sizes.values())))
    of_readers = input_products(
        groups, readers, weights, batches, samples, rng, lambda share: on_progress(share * done / total)
    )
    products = dict(zip((r.weight for r in readers), of_readers, strict=True))
    removed = set(select_by_norm(groups, weights, widths).removed)
    present = {name: torch.ones(matrix.shape[1], dtype=torch.bool) for name, matrix in matrices.items()}
    refitted: dict[str, np.ndarray] = {}
    for group in thinned:
        own = [r for r in readers if set(group.channels) <= set(r.channels.tolist())]
        if not own:
            continue
        inputs = [_inputs_of(reader, group, matrices[reader.weight]) for reader in own]
        layers = [
            _present(
                matrices[r.weight], products[r.weight], own_inputs, present[r.weight], refit_bias=r.bias is not None
            )
            for r, own_inputs in zip(own, inputs, strict=True)
        ]
        remaining, results = prune_shared_channels(layers, widths[group.name], most_steps=MOST_STEPS)
        lost = sorted(set(range(group.width)) - set(remaining.tolist()))
        removed = (removed - set(group.channels)) | {group.channels[place] for place in lost}
        for reader, own_inputs, (matrix, bias_change) in zip(own, inputs, results, strict=True):
            name = reader.weight
            matrices[name][:, present[name]] = matrix
            present[name][own_inputs[lost].flatten()] = False
            refitted[name] = reader.array(matrices[name].numpy(), weights[name])
            if reader.bias is not None:
                bias = refitted.get(reader.bias, weights[reader.bias])
                refitted[reader.bias] = (bias + bias_change.numpy()).astype(bias.dtype)
        done += sum(removal_work(sizes[r.weight]) for r in own)  # once more for each group that a layer reads
        on_progress(min(1.0, done / total))
    return Selection(frozenset(removed), refitted)


def _inputs_of(reader: WeightedReader, group: Group, matrix: Tensor) -> Tensor:
    """The inputs (C, T) of a layer that each channel of a group provides."""
    places = np.arange(matrix.shape[1]).reshape(len(reader.channels), -1)
    return torch.from_numpy(np.stack([places[reader.channels == channel].reshape(-1) for channel in group.channels]))


def _present(matrix: Tensor, products: Tensor, inputs: Tensor, present: Tensor, *, refit_bias: bool) -> ReadingLayer:
    """A layer without the inputs that were removed with earlier groups."""
    places = present.cumsum(0) - 1
    if products.shape[1] == matrix.shape[1]:
        products = products[:, present]
    else:
        with_one = torch.cat([present, torch.ones(1, dtype=torch.bool)])
        products = products[with_one][:, with_one]
    return ReadingLayer(products, matrix[:, present], places[inputs], refit_bias)
