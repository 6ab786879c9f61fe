"""Level-set lines of smooth random fields.

Networks learn features from such images that transfer to real ones (Baradad et al. 2021, Learning to
See by Looking at Noise).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

FIELD_SIDES = (3, 6)
"""Smallest and largest number of random values along the shorter side of a field."""

FIELD_STEP = 4
"""Smallest number of positions between two random values: a small sample has room for few lines only."""

INTERPOLATION = {3: "linear", 4: "bicubic", 5: "trilinear"}
"""Interpolation of a field by the rank of a batch."""


def level_lines(like: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, C, *sides) in [0, 1] of level-set lines, each with its own level, width and colour, on black.

    Fields are about N(0, 1), and levels are at most 0.85 from the mean, so that nearly all fields cross
    them. A line has its full colour up to half its ``width`` (0.12 to 0.48 standard deviations of the
    field) on either side of the level, and fades out over another ``width``.

    Args:
        like: a tensor with the shape and the device of the result; sequences, images or volumes.
        rng: random generator on the same device.
    """
    values = torch.randn((len(like), 1, *_field_shape(like.shape[2:], rng)), generator=rng, device=like.device)
    field = F.interpolate(values, size=like.shape[2:], mode=INTERPOLATION[like.ndim], align_corners=True)
    level, share = torch.rand((2, len(like), *(1,) * (like.ndim - 1)), generator=rng, device=like.device)
    width = 0.12 * 4**share
    line = (1.5 - (field - (1.7 * level - 0.85)).abs() / width).clamp(0, 1)
    colour = torch.rand((*like.shape[:2], *(1,) * (like.ndim - 2)), generator=rng, device=like.device)
    return (0.5 + 0.5 * colour) * line


def _field_shape(sides: Sequence[int], rng: torch.Generator) -> list[int]:
    """Number of random values of a field along each axis, equally spaced on all axes so that no line is stretched."""
    fewest, most = FIELD_SIDES
    most = max(fewest, min(most, max(sides) // FIELD_STEP))
    count = int(torch.randint(fewest, most + 1, (), generator=rng, device=rng.device))
    # The depth of a volume does not count, because its spacing may differ.
    step = max((min(sides[-2:]) - 1) / (count - 1), FIELD_STEP)
    return [max(fewest, 1 + round((side - 1) / step)) for side in sides]
