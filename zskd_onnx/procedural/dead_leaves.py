"""Dead leaves: images of overlapping shapes with random colours.

They have the statistics of natural images, which are surfaces with edges between them (Lee, Mumford &
Huang 2001). Networks learn features from them that transfer to natural images (Baradad et al. 2021,
Learning to See by Looking at Noise).
"""

from __future__ import annotations

import torch
from torch import Tensor

COLOURS = 3
"""Number of channels of a colour image."""

MAX_SHAPES = 12
"""Largest number of shapes in an image."""

MIN_RADIUS, MAX_RADIUS = 0.2, 1.5
"""Radii relative to half the image's side. Their density falls with the third power, so that no scale is preferred."""

EXPONENTS = (1.0, 2.5)
"""Range of the exponent a of a texture's spectrum, amplitude = frequency^-a, from rough to smooth; natural images
have about 1."""


def dead_leaves(like: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, C, H, W) in [0, 1] of ellipses and rectangles with wavy edges on a textured background.

    Position, size, shape, colour and contrast differ from shape to shape, their number from image to image.

    Args:
        like: a tensor with the shape and the device of the result.
        rng: random generator on the same device.
    """
    n, channels, height, width = like.shape

    def draw(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand((n, *shape), generator=rng, device=like.device)

    rows = torch.linspace(-1, 1, height, device=like.device)[:, None]
    columns = torch.linspace(-1, 1, width, device=like.device)
    field = textures(like, rng)
    probability = draw(1, 1).sqrt()  # of each shape, in an image
    surface = torch.zeros((n, height, width), dtype=torch.int64, device=like.device)
    for number in range(1, MAX_SHAPES + 1):
        radius = (MIN_RADIUS * draw(1, 1).clamp_min(1e-6).rsqrt()).clamp_max(MAX_RADIUS)
        x, y = columns - draw(1, 1, low=-1.1, high=1.1), rows - draw(1, 1, low=-1.1, high=1.1)
        angle, flatness = draw(1, 1, high=torch.pi), draw(1, 1, low=0.3)
        along = (x * angle.cos() + y * angle.sin()) / radius
        across = (y * angle.cos() - x * angle.sin()) / (radius * flatness)
        edge = 1 + 0.5 * draw(1, 1) * field[:, number % channels]
        ellipse, rectangle = along.square() + across.square(), torch.maximum(along.abs(), across.abs()).square()
        inside = torch.where(draw(1, 1) < 0.5, ellipse, rectangle) < edge
        surface = torch.where(inside & (draw(1, 1) < probability), number, surface)
    return coloured(surface, field, rng)


def textures(like: Tensor, rng: torch.Generator) -> Tensor:
    """Random fields (N, C, H, W) of mean 0 and variance 1, with a power-law spectrum of a random exponent.

    The correlation of the channels differs from image to image.

    Args:
        like: a tensor with the shape and the device of the result.
        rng: random generator on the same device.
    """
    n, channels, height, width = like.shape
    frequencies = torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()
    frequencies[0, 0] = torch.inf  # makes the mean 0
    low, high = EXPONENTS
    exponent = low + (high - low) * torch.rand((n, 1, 1, 1), generator=rng, device=like.device)
    amplitude = frequencies.to(like.device).sqrt() ** -exponent
    shape = (n, channels, height, width // 2 + 1)
    noise = torch.randn(shape, generator=rng, device=like.device, dtype=torch.complex64)
    field = torch.fft.irfft2(noise * amplitude, s=(height, width))
    # Most are highly correlated: channels of natural images have correlations of 0.8 and more.
    correlation = torch.rand((n, 1, 1, 1), generator=rng, device=like.device) ** 0.25
    field = torch.lerp(field, field.sum(1, keepdim=True), correlation)
    return field / field.std((2, 3), keepdim=True, correction=min(1, height * width - 1)).clamp_min(1e-12)


def coloured(surface: Tensor, field: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, C, H, W) in which each surface has its own colour and texture.

    Args:
        surface: number of the surface at each position (N, H, W), from 0 (background) to ``MAX_SHAPES``.
        field: random fields (N, C, H, W) that textures are cut from; surfaces next to each other in
            number use different ones.
    """
    n, channels, height, width = field.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand((n, *shape, MAX_SHAPES + 1), generator=rng, device=field.device)

    # Most surfaces are nearly grey and smooth.
    grey, saturation = 0.12 + 0.76 * draw(1), 0.2 * draw(1).square()
    tint = torch.randn((n, channels, MAX_SHAPES + 1), generator=rng, device=field.device)
    contrast = (0.05 + 0.25 * draw(1)) * torch.where(
        torch.arange(MAX_SHAPES + 1, device=field.device) > 0, 0.5 * draw(1), 1.0
    )
    index = surface.view(n, 1, -1)
    colour = (grey + saturation * tint).gather(2, index.expand(-1, channels, -1)).view(field.shape)
    other_field = field.flip(0).roll((height // 2, width // 2), (2, 3))
    texture = torch.where((surface % 2 > 0)[:, None], other_field, field)
    return (colour + contrast.gather(2, index).view(n, 1, height, width) * texture).clamp(0, 1)
