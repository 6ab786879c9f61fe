"""Random coordinate networks: images that a small random network computes from the position of each pixel.

They have what shader programs give (Baradad et al. 2022, Procedural Image Programs for Representation Learning):
smooth shades, sharp edges, repetition and warped symmetry. Such networks are known as compositional pattern-producing
networks (Stanley 2007).
"""

from __future__ import annotations

import torch
from torch import Tensor

UNITS, LAYERS = 12, 3
"""Units of a layer, and number of layers before the colours."""

FREQUENCIES = (0.8, 4.0)
"""Range of the standard deviation of the first layer's weights, radians per half side; log-uniform."""

GAINS = (0.5, 1.7)
"""Range of the standard deviation of a later unit's input: smooth shades below, edges and repetition above."""

WARP = 0.6
"""Largest shift of a position by the first layer, relative to half the side."""


def coordinate_networks(like: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, C, H, W) in [0, 1], each from a network of its own with sines of position and distance from the middle.

    Args:
        like: a tensor with the shape and the device of the result.
        rng: random generator on the same device.
    """
    n, channels, height, width = like.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand((n, 1, 1), generator=rng, device=like.device)

    def layer(x: Tensor, units: int, deviation: Tensor) -> Tensor:
        """Weighted sums (N, P, units) of x (N, P, I), with phases."""
        weights = torch.randn((n, x.shape[2], units), generator=rng, device=like.device) * deviation
        return x @ weights + 2 * torch.pi * torch.rand((n, 1, units), generator=rng, device=like.device)

    rows, columns = (torch.linspace(-1, 1, side, device=like.device) for side in (height, width))
    position = torch.stack([rows[:, None].expand(height, width), columns.expand(height, width)], 2).view(1, -1, 2)
    middle = 0.5 * torch.randn((n, 1, 2), generator=rng, device=like.device)
    frequency = FREQUENCIES[0] * (FREQUENCIES[1] / FREQUENCIES[0]) ** uniform(0, 1)
    warped = position + uniform(0, WARP) * layer(position.expand(n, -1, -1), 2, frequency).sin()
    radius = (warped - middle).square().sum(2, keepdim=True).sqrt()
    x = layer(torch.cat([warped, radius], 2), UNITS, frequency).sin()
    for _ in range(LAYERS - 1):
        # A sine of a uniform phase has variance 1/2.
        x = layer(x, UNITS, uniform(*GAINS) * (2 / UNITS) ** 0.5).sin()
    colours = layer(x, channels, uniform(*GAINS) * (2 / UNITS) ** 0.5).sin()
    grey = torch.lerp(colours, colours.mean(2, keepdim=True), uniform(0, 1).sqrt())
    contrast, brightness = uniform(0.2, 1), uniform(0.3, 0.7)
    return (brightness + 0.5 * contrast * grey).clamp(0, 1).mT.reshape(like.shape)
