"""Objects on an empty ground: one to four overlapping shapes with wavy edges, as of things on a table or clothes.

They are not from a paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.procedural.dead_leaves import textures

MAX_PARTS = 4
"""Largest number of parts of an object."""

SIZES = (0.15, 0.9)
"""Range of half the length of a part along either of its axes, relative to half the side of the image."""

SPREAD = 0.35
"""Standard deviation of a part's middle from that of the image, relative to half the side."""

WAVES = (2, 6)
"""Smallest and largest number of waves along an edge."""

WAVE_HEIGHT = 0.3
"""Largest height of the waves, relative to the part's size."""

MIRRORED, HOLES, RECTANGLES = 0.5, 0.2, 0.5
"""Probability that an object is mirror-symmetric, that a part after the first is a hole, that a part is a rectangle."""

SHADES = (0.15, 1.0)
"""Range of a part's mean value."""

TEXTURE = 0.25
"""Largest standard deviation of a part's texture."""


def objects(like: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, C, H, W) in [0, 1] of one object each on black.

    An object consists of ellipses and rectangles with wavy edges, each with a shade and a texture of its own. Half of
    the objects are mirror-symmetric; some parts are holes.

    Args:
        like: a tensor with the shape and the device of the result.
        rng: random generator on the same device.
    """
    return draw_objects(torch.zeros_like(like), rng)


def draw_objects(ground: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, C, H, W) in [0, 1] of one object each on given grounds, which the holes show; see ``objects``.

    Args:
        ground: images (N, C, H, W) in [0, 1].
        rng: random generator on the same device.
    """
    n, channels, height, width = ground.shape

    def draw(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand((n, *shape), generator=rng, device=ground.device)

    rows = torch.linspace(-1, 1, height, device=ground.device)[:, None]
    columns = torch.linspace(-1, 1, width, device=ground.device).expand(n, 1, width)
    mirrored = draw(1, 1) < MIRRORED
    columns = torch.where(mirrored, columns.abs(), columns)
    field = textures(ground, rng)
    image = ground
    count = 1 + (MAX_PARTS * draw(1, 1, 1)).long()
    for number in range(MAX_PARTS):
        middle = SPREAD * torch.randn((2, n, 1, 1), generator=rng, device=ground.device)
        x, y = columns - torch.where(mirrored, middle[0].abs(), middle[0]), rows - middle[1]
        angle = draw(1, 1, high=torch.pi)
        length, breadth = (draw(1, 1, low=SIZES[0], high=SIZES[1]) for _ in range(2))
        along = (x * angle.cos() + y * angle.sin()) / length
        across = (y * angle.cos() - x * angle.sin()) / breadth
        waves = torch.randint(WAVES[0], WAVES[1] + 1, (n, 1, 1), generator=rng, device=ground.device)
        phase = waves * torch.atan2(across, along) + draw(1, 1, high=2 * torch.pi)
        edge = 1 + WAVE_HEIGHT * draw(1, 1) * phase.sin()
        ellipse, rectangle = (along.square() + across.square()).sqrt(), torch.maximum(along.abs(), across.abs())
        inside = torch.where(draw(1, 1) < RECTANGLES, rectangle, ellipse) < edge
        shade = draw(channels, 1, 1, low=SHADES[0], high=SHADES[1])
        colour = torch.lerp(shade, shade.mean(1, keepdim=True), draw(1, 1, 1).sqrt())
        # Another part of the field for each part of the object, so that their textures differ.
        texture = field.roll((number * height // MAX_PARTS, number * width // MAX_PARTS), (2, 3))
        part = (colour + TEXTURE * draw(1, 1, 1).square() * texture).clamp(0, 1)
        hole = (draw(1, 1, 1) < HOLES) & (number > 0)
        visible = inside[:, None] & (number < count)
        image = torch.where(visible, torch.where(hole, ground, part), image)
    return image
