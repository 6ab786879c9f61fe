"""Images of dead leaves: shapes of random colours that cover one another.

Photographs are surfaces with edges between them, and such images have their statistics (Lee, Mumford & Huang 2001); what
networks learn from them carries over to photographs (Baradad et al. 2021, Learning to See by Looking at Noise).
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAVES = 12
"""Most shapes on an image."""

SMALLEST, LARGEST = 0.2, 1.5
"""Radii, in half sides; between them their density falls with the third power, so that no scale is preferred."""

EXPONENTS = (1.0, 2.5)
"""Of a texture's spectrum, amplitude = frequency^-a: from rough to smooth; natural images have about 1."""


def dead_leaves(like: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, 3, H, W) in [0, 1], as many, as large and on the device as ``like`` (N, 3, H, W).

    The ground is a texture. On it lie ellipses and rectangles with wavy edges, each of its own place, size, shape, colour
    and contrast; how many differs from image to image.
    """
    n, channels, height, width = like.shape

    def draw(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand((n, *shape), generator=generator, device=like.device)

    rows = torch.linspace(-1, 1, height, device=like.device)[:, None]
    columns = torch.linspace(-1, 1, width, device=like.device)
    ground, texture = textures(like, generator), textures(like, generator)
    image = _coloured(ground, draw(1, 1, 1, low=0.05, high=0.3), generator)
    crowd = draw(1, 1, 1).sqrt()
    for number in range(LEAVES):
        radius = (SMALLEST * draw(1, 1).clamp_min(1e-6).rsqrt()).clamp_max(LARGEST)
        x, y = columns - draw(1, 1, low=-1.1, high=1.1), rows - draw(1, 1, low=-1.1, high=1.1)
        angle, flatness = draw(1, 1, high=torch.pi), draw(1, 1, low=0.3)
        along = (x * angle.cos() + y * angle.sin()) / radius
        across = (y * angle.cos() - x * angle.sin()) / (radius * flatness)
        edge = 1 + 0.5 * draw(1, 1) * ground[:, number % channels]
        ellipse, rectangle = along.square() + across.square(), torch.maximum(along.abs(), across.abs()).square()
        inside = torch.where(draw(1, 1) < 0.5, ellipse, rectangle) < edge
        covers = inside[:, None] & (draw(1, 1, 1) < crowd)
        leaf = _coloured(texture, draw(1, 1, 1, high=0.5) * draw(1, 1, 1, low=0.05, high=0.3), generator)
        image = torch.where(covers, leaf, image)
    return image


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
    return field / field.std((2, 3), keepdim=True).clamp_min(1e-12)


def _coloured(field: Tensor, contrast: Tensor, generator: torch.Generator) -> Tensor:
    """A field (N, C, H, W) around a colour that is drawn for each image, in [0, 1]; ``contrast`` (N, 1, 1, 1) is its deviation."""
    n, channels = field.shape[:2]
    grey = 0.12 + 0.76 * torch.rand((n, 1, 1, 1), generator=generator, device=field.device)
    # Most surfaces are nearly grey.
    saturation = 0.2 * torch.rand((n, 1, 1, 1), generator=generator, device=field.device) ** 2
    tint = saturation * torch.randn((n, channels, 1, 1), generator=generator, device=field.device)
    return (grey + tint + contrast * field).clamp(0, 1)
