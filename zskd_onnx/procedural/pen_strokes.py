"""Drawings of a few strokes of a pen; of no paper.

Digits, letters and signs are strokes on an empty ground: of one width, with ends, that bend, turn and meet.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHARES = (0.5, 0.35, 0.15)
"""Of drawings that have one stroke, two and three."""

POINTS = 48
"""Along a stroke, evenly."""

SHORTEST = 0.35
"""Length of a stroke; the longest has 1."""

CURVATURE, WOBBLE = 3.0, 0.35
"""Radians that a stroke turns by on its length, and how much of that changes from point to point: deviations."""

CORNERS, TURN = 0.08, 1.5
"""Chance of a corner at a point, and the deviation of its angle, radians."""

JOINED, CROSSING = 0.6, 0.3
"""Chance that a stroke meets the first one, otherwise it comes near; and that it is not its beginning that does."""

SIZES = (0.4, 0.8)
"""Of a drawing, as a share of the shorter side."""

WIDTHS = (0.05, 0.125)
"""Of the pen, as a share of the shorter side; a position at least."""


ROOM = 16
"""Positions that a drawing needs along each side; on fewer it is a blot."""


def pen_strokes(like: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, C, H, W) in [0, 1], as many, as large, of the type and on the device of ``like``.

    Each is drawn with a pen of its own width and colour on 0. A long image is a row of drawings, one for each square that
    it has room for.
    """
    n, channels, height, width = like.shape
    side, length = min(height, width), max(height, width)
    drawings = length // side
    cell = -(-length // drawings)

    def draw(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand((n, *shape), generator=generator, device=like.device)

    paths, steps = _paths(n * drawings, generator)
    size = side * draw(drawings, low=SIZES[0], high=SIZES[1]).flatten()
    middle = paths.new_tensor([cell, side] if width > height else [side, cell]) / 2
    points = paths.flatten(1, 2) * size[:, None, None] + middle
    pen = (side * draw(1, 1, low=WIDTHS[0], high=WIDTHS[1])).clamp_min(1)
    colour = 0.6 + 0.4 * draw(channels, 1, 1)
    pens = pen.repeat_interleave(drawings, 0)
    sides = (side, cell) if width > height else (cell, side)
    distance = distances(points, steps.flatten(1) * size[:, None], pens / 4, sides)
    inside = (pens / 2 - distance + 0.5).clamp(0, 1).view(n, drawings, *sides)
    row = inside.movedim(1, 2).flatten(2) if width > height else inside.flatten(1, 2)
    return (colour * row[:, None, :height, :width]).to(like.dtype)


def distances(points: Tensor, spacing: Tensor, deviation: Tensor, sides: tuple[int, int]) -> Tensor:
    """How far each position is from lines through points, about; beyond six deviations or so it is no longer told.

    Each point gives a Gaussian, and along a line these add up to one that falls off across it, from 1. They are products
    of one along each axis, so that all of them together are a product of two matrices.

    Args:
        points: (N, P, 2), horizontal and vertical, in positions.
        spacing: (N, P), how far neighbouring points of a line are apart; 0 leaves a point out.
        deviation: (N, 1, 1), of a Gaussian, about half of the spacing or more: beads come of much less.
        sides: height and width of the images.

    Returns:
        (N, H, W).
    """

    scale = 1 / (math.sqrt(2) * deviation)

    def profiles(axis: int) -> Tensor:
        centres = torch.arange(sides[1 - axis], device=points.device) + 0.5
        # Within what float32 tells from 0: numbers below its normal ones are slow.
        return (centres * scale - points[:, :, axis, None] * scale).square_().clamp_max_(30).neg_().exp_()

    mass = spacing[..., None] / (deviation * math.sqrt(2 * math.pi))
    density = profiles(1).mul_(mass).mT @ profiles(0)
    return deviation * (-2 * density.clamp(1e-9, 1).log()).sqrt()


def _paths(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Drawings about the origin, whose larger side is 1.

    Returns:
        Points (N, 3, POINTS, 2), and for each how far it is from the one before, 0 for strokes that a drawing lacks.
    """
    most, device = len(SHARES), generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand((n, *shape), generator=generator, device=device)

    def normal(*shape: int) -> Tensor:
        return torch.randn((n, *shape), generator=generator, device=device)

    def point_of(path: Tensor, number: Tensor) -> Tensor:
        return path.gather(2, number[..., None, None].expand(-1, -1, 1, 2))

    turns = CURVATURE / POINTS * (normal(most, 1) + (WOBBLE * normal(most, POINTS)).cumsum(2))
    turns += torch.where(uniform(most, POINTS) < CORNERS, TURN * normal(most, POINTS), 0.0)
    heading = 2 * math.pi * uniform(most, 1) + turns.cumsum(2)
    steps = (SHORTEST + (1 - SHORTEST) * uniform(most, 1)) / POINTS
    paths = (torch.stack([heading.cos(), heading.sin()], 3) * steps[..., None]).cumsum(2)

    first = paths[:, :1].expand_as(paths)
    there = point_of(first, (POINTS * uniform(most)).long())
    here = point_of(paths, (POINTS * uniform(most)).long() * (uniform(most) < CROSSING))
    apart = torch.where(uniform(most, 1, 1) < JOINED, 0.0, 0.25 * normal(most, 1, 2))
    number = torch.arange(most, device=device)
    count = 1 + (uniform(1) > torch.tensor(SHARES, device=device).cumsum(0)[:-1]).sum(1, keepdim=True)
    lacks = number >= count
    other = (number > 0)[:, None, None]
    paths = torch.where(other & ~lacks[..., None, None], paths - here + there + apart, first)
    steps = steps.masked_fill(lacks[..., None], 0).expand(-1, -1, POINTS)

    low, high = paths.amin((1, 2), keepdim=True), paths.amax((1, 2), keepdim=True)
    extent = (high - low).amax(3, keepdim=True).clamp_min(0.05)
    return (paths - (low + high) / 2) / extent, steps / extent[..., 0]
