"""Pen strokes: drawings of one to three strokes of a pen, as in digits, letters and signs.

Strokes have one width and two ends; they bend, have corners and touch each other. They are not from a
paper.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

STROKE_COUNTS = (0.5, 0.35, 0.15)
"""Shares of drawings with one stroke, two and three."""

POINTS = 48
"""Number of points along a stroke, equally spaced."""

MIN_LENGTH = 0.35
"""Shortest length of a stroke, relative to the longest."""

CURVATURE, WOBBLE = 3.0, 0.35
"""Standard deviation of the angle that a stroke turns by, in radians; share of it that changes from point to point."""

CORNERS, TURN = 0.08, 1.5
"""Probability of a corner at a point, and the standard deviation of its angle in radians."""

JOINED, CROSSING = 0.6, 0.3
"""Probability that a stroke touches the first one, otherwise it comes near; probability that it does so at any of
its points, otherwise at its beginning."""

SIZES = (0.4, 0.8)
"""Range of a drawing's size, relative to the shorter side of the image."""

WIDTHS = (0.05, 0.125)
"""Range of the pen's width, relative to the shorter side of the image; it is at least one position."""

MIN_SIDE = 16
"""Smallest side of an image that has room for a drawing."""


def pen_strokes(like: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, C, H, W) in [0, 1] of drawings on black, each with a pen of its own width and colour.

    A long image is a row of drawings, one for each square that fits.

    Args:
        like: a tensor with the shape, type and device of the result.
        rng: random generator on the same device.
    """
    n, channels, height, width = like.shape
    side, length = min(height, width), max(height, width)
    drawings = length // side
    cell = -(-length // drawings)

    def draw(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand((n, *shape), generator=rng, device=like.device)

    paths, steps = _paths(n * drawings, rng)
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
    """Approximate distances (N, H, W) of all positions from lines through points.

    Every point contributes a Gaussian. Along a line their sum falls off from 1 across the line, so its
    logarithm gives the distance, up to about six standard deviations. A Gaussian is a product of one
    along each axis, so that all of them together are a product of two matrices.

    Args:
        points: (N, P, 2), horizontal and vertical coordinates in positions.
        spacing: (N, P), distance of each point to its neighbour on the line; 0 leaves a point out.
        deviation: (N, 1, 1), standard deviation of a Gaussian. Much less than half of the spacing would
            give separate dots.
        sides: height and width of the images.
    """

    scale = 1 / (math.sqrt(2) * deviation)

    def profiles(axis: int) -> Tensor:
        centres = torch.arange(sides[1 - axis], device=points.device) + 0.5
        # The exponent is limited, because float32 numbers below the normal ones are slow.
        return (centres * scale - points[:, :, axis, None] * scale).square_().clamp_max_(30).neg_().exp_()

    mass = spacing[..., None] / (deviation * math.sqrt(2 * math.pi))
    density = profiles(1).mul_(mass).mT @ profiles(0)
    return deviation * (-2 * density.clamp(1e-9, 1).log()).sqrt()


def _paths(n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random drawings, centred at the origin, whose larger side is 1.

    Returns:
        Points (N, 3, POINTS, 2) of three strokes, and the distance (N, 3, POINTS) of each point to the one
        before. It is 0 for strokes that a drawing does not have.
    """
    most, device = len(STROKE_COUNTS), rng.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand((n, *shape), generator=rng, device=device)

    def normal(*shape: int) -> Tensor:
        return torch.randn((n, *shape), generator=rng, device=device)

    def point_of(path: Tensor, number: Tensor) -> Tensor:
        return path.gather(2, number[..., None, None].expand(-1, -1, 1, 2))

    turns = CURVATURE / POINTS * (normal(most, 1) + (WOBBLE * normal(most, POINTS)).cumsum(2))
    turns += torch.where(uniform(most, POINTS) < CORNERS, TURN * normal(most, POINTS), 0.0)
    heading = 2 * math.pi * uniform(most, 1) + turns.cumsum(2)
    steps = (MIN_LENGTH + (1 - MIN_LENGTH) * uniform(most, 1)) / POINTS
    paths = (torch.stack([heading.cos(), heading.sin()], 3) * steps[..., None]).cumsum(2)

    # Strokes after the first are moved so that one of their points touches the first stroke, or nearly.
    first = paths[:, :1].expand_as(paths)
    point_of_first = point_of(first, (POINTS * uniform(most)).long())
    point_of_stroke = point_of(paths, (POINTS * uniform(most)).long() * (uniform(most) < CROSSING))
    gap = torch.where(uniform(most, 1, 1) < JOINED, 0.0, 0.25 * normal(most, 1, 2))
    number = torch.arange(most, device=device)
    count = 1 + (uniform(1) > torch.tensor(STROKE_COUNTS, device=device).cumsum(0)[:-1]).sum(1, keepdim=True)
    absent = number >= count
    after_first = (number > 0)[:, None, None]
    moved = paths - point_of_stroke + point_of_first + gap
    paths = torch.where(after_first & ~absent[..., None, None], moved, first)
    steps = steps.masked_fill(absent[..., None], 0).expand(-1, -1, POINTS)

    low, high = paths.amin((1, 2), keepdim=True), paths.amax((1, 2), keepdim=True)
    extent = (high - low).amax(3, keepdim=True).clamp_min(0.05)
    return (paths - (low + high) / 2) / extent, steps / extent[..., 0]
