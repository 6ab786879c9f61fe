"""Contours: level lines of smooth random fields.

Networks learn features from such images that carry over to real ones (Baradad et al. 2021, Learning to See by Looking at Noise).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

FIELD_SIDES = (3, 6)
"""Fewest and most random values along the shorter side of a field that contours are drawn from."""

FIELD_STEP = 4
"""Least positions between two of them: a small sample has no room for as many lines."""

ENLARGED = {3: "linear", 4: "bicubic", 5: "trilinear"}
"""How such a field becomes smooth, by the rank of a batch."""


def level_lines(like: Tensor, generator: torch.Generator) -> Tensor:
    """Level lines of smooth random fields (N, C, *sides), each of its own level, width and colour.

    Fields are about N(0, 1): levels within 0.85 of the middle cut nearly all of them. A line is full up to half its
    ``width``, 0.12 to 0.48 of a deviation, either way and fades over another width on each side.
    """
    values = torch.randn((len(like), 1, *_values(like.shape[2:], generator)), generator=generator, device=like.device)
    field = F.interpolate(values, size=like.shape[2:], mode=ENLARGED[like.ndim], align_corners=True)
    level, share = torch.rand((2, len(like), *(1,) * (like.ndim - 1)), generator=generator, device=like.device)
    width = 0.12 * 4**share
    inside = (1.5 - (field - (1.7 * level - 0.85)).abs() / width).clamp(0, 1)
    colour = torch.rand((*like.shape[:2], *(1,) * (like.ndim - 2)), generator=generator, device=like.device)
    return (0.5 + 0.5 * colour) * inside


def _values(sides: Sequence[int], generator: torch.Generator) -> list[int]:
    """How many random values a field has along each axis: as far apart along all, so that no outline is stretched."""
    fewest, most = FIELD_SIDES
    most = max(fewest, min(most, max(sides) // FIELD_STEP))
    count = int(torch.randint(fewest, most + 1, (), generator=generator, device=generator.device))
    # The slices of a volume say nothing of what is near.
    step = max((min(sides[-2:]) - 1) / (count - 1), FIELD_STEP)
    return [max(fewest, 1 + round((side - 1) / step)) for side in sides]
