"""Dead leaves, compared with the statistics of natural images."""

from __future__ import annotations

import torch

from zskd_onnx.procedural.dead_leaves import EXPONENTS, dead_leaves, textures


def rng_with(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_are_in_the_unit_space_and_reproducible() -> None:
    like = torch.empty(64, 3, 20, 13)
    images = dead_leaves(like, rng_with())
    assert images.shape == like.shape
    assert float(images.amin()) >= 0
    assert float(images.amax()) <= 1
    assert torch.equal(images, dead_leaves(like, rng_with()))
    assert len(images.flatten(1).unique(dim=0)) == len(like)


def test_a_texture_has_the_spectrum_of_its_exponent() -> None:
    """The mean log amplitude decreases linearly with the log frequency; the slope is the mean exponent."""
    field = textures(torch.empty(3000, 3, 32, 32), rng_with())
    torch.testing.assert_close(field.std((2, 3)), torch.ones(3000, 3), rtol=1e-4, atol=0)
    amplitude = torch.fft.rfft2(field).abs().log().mean((0, 1))[0, 1:16]  # along one axis, without the ends
    frequency = torch.arange(1, 16).log()
    centred = frequency - frequency.mean()
    slope = (centred * amplitude).sum() / centred.square().sum()
    torch.testing.assert_close(slope, torch.tensor(-sum(EXPONENTS) / 2), rtol=0, atol=0.03)


def test_surfaces_have_edges() -> None:
    """Differences of neighbouring pixels have a higher kurtosis than in a texture."""

    def kurtosis(images: torch.Tensor) -> float:
        differences = images[..., 1:] - images[..., :-1]
        return float((differences**4).mean((1, 2, 3)).div(differences.square().mean((1, 2, 3)).square()).median())

    like = torch.empty(500, 3, 32, 32)
    assert kurtosis(textures(like, rng_with())) < 3.5
    assert kurtosis(dead_leaves(like, rng_with())) > 5


def test_an_image_of_one_pixel_is_finite() -> None:
    assert dead_leaves(torch.zeros(5, 3, 1, 1), torch.Generator().manual_seed(0)).isfinite().all()
