"""Procedural samples in the unit space for any input, with which a teacher is asked for its input range."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zskd_onnx.procedural.dead_leaves import dead_leaves
from zskd_onnx.procedural.level_lines import level_lines
from zskd_onnx.procedural.pen_strokes import pen_strokes

TOGETHER = 8
"""Samples that are drawn together: level-set lines of one batch are all equally far apart."""

FACTORS = 4
"""Hidden variables behind the features of a vector, or the channels of a sequence."""


def domain_samples(count: int, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Samples (count, *shape) in [0, 1], float32.

    Images are level-set lines, pen strokes and dead leaves in turn. Vectors, sequences and volumes are
    independent values and mixtures of a few hidden variables in turn; sequences and volumes are level-set
    lines, too.

    Args:
        shape: of one sample, (C, *sides), or (F,) for vectors.
        rng: on the CPU.
    """
    kinds: tuple[Callable[[Tensor, torch.Generator], Tensor], ...]
    if len(shape) == 3:
        kinds = (level_lines, pen_strokes, dead_leaves)
    elif len(shape) == 1:
        kinds = (_independent, _mixtures)
    else:
        kinds = (level_lines, _independent, _mixtures)
    parts = []
    for number, first in enumerate(range(0, count, TOGETHER)):
        empty = torch.empty((min(TOGETHER, count - first), *shape))
        parts.append(kinds[number % len(kinds)](empty, rng))
    return torch.cat(parts)


def _independent(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=rng)


def _mixtures(like: Tensor, rng: torch.Generator) -> Tensor:
    """Sigmoids of random mixtures of ``FACTORS`` normal variables; each sample has its own mixture."""
    count, channels, *sides = like.shape
    weights = torch.randn((count, channels, FACTORS), generator=rng)
    positions = torch.Size(sides).numel()
    hidden = torch.randn((count, FACTORS, positions), generator=rng)
    return (weights @ hidden / FACTORS**0.5 * 2).sigmoid().reshape(like.shape)
