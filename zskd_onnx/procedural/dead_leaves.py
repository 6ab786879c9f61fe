"""Images of dead leaves: shapes of random colours that cover one another.

Photographs are surfaces with edges between them, and such images have their statistics (Lee, Mumford & Huang 2001); what
networks learn from them carries over to photographs (Baradad et al. 2021, Learning to See by Looking at Noise).
"""

from __future__ import annotations

import torch
from torch import Tensor

COLOURS = 3
"""Channels of an image in colour, which is taken for a photograph."""

LEAVES = 12
"""Most shapes on an image."""

SMALLEST, LARGEST = 0.2, 1.5
"""Radii, in half sides; between them their density falls with the third power, so that no scale is preferred."""

EXPONENTS = (1.0, 2.5)
"""Of a texture's spectrum, amplitude = frequency^-a: from rough to smooth; natural images have about 1."""


def dead_leaves(like: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, C, H, W) in [0, 1], as many, as large and on the device as ``like`` (N, C, H, W).

    The ground is a texture. On it lie ellipses and rectangles with wavy edges, each of its own place, size, shape, colour
    and contrast; how many differs from image to image.
    """
    n, channels, height, width = like.shape

    def draw(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand((n, *shape), generator=generator, device=like.device)

    rows = torch.linspace(-1, 1, height, device=like.device)[:, None]
    columns = torch.linspace(-1, 1, width, device=like.device)
    wavy = textures(like, generator)
    crowd = draw(1, 1).sqrt()
    top = torch.zeros((n, height, width), dtype=torch.int64, device=like.device)
    for number in range(1, LEAVES + 1):
        radius = (SMALLEST * draw(1, 1).clamp_min(1e-6).rsqrt()).clamp_max(LARGEST)
        x, y = columns - draw(1, 1, low=-1.1, high=1.1), rows - draw(1, 1, low=-1.1, high=1.1)
        angle, flatness = draw(1, 1, high=torch.pi), draw(1, 1, low=0.3)
        along = (x * angle.cos() + y * angle.sin()) / radius
        across = (y * angle.cos() - x * angle.sin()) / (radius * flatness)
        edge = 1 + 0.5 * draw(1, 1) * wavy[:, number % channels]
        ellipse, rectangle = along.square() + across.square(), torch.maximum(along.abs(), across.abs()).square()
        inside = torch.where(draw(1, 1) < 0.5, ellipse, rectangle) < edge
        top = torch.where(inside & (draw(1, 1) < crowd), number, top)
    return _coloured(top, wavy, generator)


def textures(like: Tensor, generator: torch.Generator) -> Tensor:
    """Fields (N, C, H, W) of mean 0 and variance 1, with a spectrum as ``EXPONENTS`` has it; channels from alike to apart."""
    n, channels, height, width = like.shape
    frequencies = torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()
    frequencies[0, 0] = torch.inf  # no mean
    low, high = EXPONENTS
    exponent = low + (high - low) * torch.rand((n, 1, 1, 1), generator=generator, device=like.device)
    amplitude = frequencies.to(like.device).sqrt() ** -exponent
    shape = (n, channels, height, width // 2 + 1)
    noise = torch.randn(shape, generator=generator, device=like.device, dtype=torch.complex64)
    field = torch.fft.irfft2(noise * amplitude, s=(height, width))
    # Mostly alike: channels of photographs correlate by 0.8 and more.
    alike = torch.rand((n, 1, 1, 1), generator=generator, device=like.device) ** 0.25
    field = torch.lerp(field, field.sum(1, keepdim=True), alike)
    return field / field.std((2, 3), keepdim=True, correction=min(1, height * width - 1)).clamp_min(1e-12)


def _coloured(top: Tensor, field: Tensor, generator: torch.Generator) -> Tensor:
    """Surfaces (N, H, W), numbered from the ground, 0, to ``LEAVES``, each in its colour and with its piece of a texture.

    Args:
        field: (N, C, H, W), what is made into textures; neighbouring surfaces have different ones.
    """
    n, channels, height, width = field.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand((n, *shape, LEAVES + 1), generator=generator, device=field.device)

    # Most surfaces are nearly grey and smooth.
    grey, saturation = 0.12 + 0.76 * draw(1), 0.2 * draw(1).square()
    tint = torch.randn((n, channels, LEAVES + 1), generator=generator, device=field.device)
    contrast = (0.05 + 0.25 * draw(1)) * torch.where(
        torch.arange(LEAVES + 1, device=field.device) > 0, 0.5 * draw(1), 1.0
    )
    where = top.view(n, 1, -1)
    colour = (grey + saturation * tint).gather(2, where.expand(-1, channels, -1)).view(field.shape)
    another = field.flip(0).roll((height // 2, width // 2), (2, 3))
    texture = torch.where((top % 2 > 0)[:, None], another, field)
    return (colour + contrast.gather(2, where).view(n, 1, height, width) * texture).clamp(0, 1)
