"""Dead leaves against the statistics that they are made for."""

from __future__ import annotations

import torch

from zskd_onnx.procedural.dead_leaves import EXPONENTS, dead_leaves, textures


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_of_the_unit_space_that_a_seed_repeats() -> None:
    like = torch.empty(64, 3, 20, 13)
    seen = dead_leaves(like, generator())
    assert seen.shape == like.shape
    assert float(seen.amin()) >= 0
    assert float(seen.amax()) <= 1
    assert torch.equal(seen, dead_leaves(like, generator()))
    assert len(seen.flatten(1).unique(dim=0)) == len(like)


def test_a_texture_has_the_spectrum_of_its_exponent() -> None:
    """The mean logarithm of the amplitude falls along a line whose slope is the mean exponent."""
    field = textures(torch.empty(3000, 3, 32, 32), generator())
    torch.testing.assert_close(field.std((2, 3)), torch.ones(3000, 3), rtol=1e-4, atol=0)
    amplitude = torch.fft.rfft2(field).abs().log().mean((0, 1))[0, 1:16]  # along one axis, without the ends
    frequency = torch.arange(1, 16).log()
    centred = frequency - frequency.mean()
    slope = (centred * amplitude).sum() / centred.square().sum()
    torch.testing.assert_close(slope, torch.tensor(-sum(EXPONENTS) / 2), rtol=0, atol=0.03)


def test_leaves_cover_the_ground() -> None:
    """Edges between surfaces: jumps from pixel to pixel are rarer and larger than those of a texture (kurtosis)."""

    def kurtosis(images: torch.Tensor) -> float:
        jumps = images[..., 1:] - images[..., :-1]
        return float((jumps**4).mean((1, 2, 3)).div(jumps.square().mean((1, 2, 3)).square()).median())

    like = torch.empty(500, 3, 32, 32)
    assert kurtosis(textures(like, generator())) < 3.5
    assert kurtosis(dead_leaves(like, generator())) > 5


def test_an_image_of_one_position() -> None:
    assert dead_leaves(torch.zeros(5, 3, 1, 1), torch.Generator().manual_seed(0)).isfinite().all()
