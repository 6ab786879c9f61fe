"""The usual input ranges."""

from __future__ import annotations

import numpy as np
import pytest

from zskd_onnx.teacher.probes.candidate_domains import candidate_domains


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 8, 8), (1, 4, 8, 8), (13,), (40, 100)])
def test_bounds_fit_the_channels(shape: tuple[int, ...]) -> None:
    candidates = candidate_domains(shape, 10)
    assert len({candidate.name for candidate in candidates}) == len(candidates)
    for candidate in candidates:
        assert len(candidate.low) == len(candidate.high) in (1, shape[0])
        assert all(low < high for low, high in zip(candidate.low, candidate.high, strict=True))


def test_standardised_ranges_are_those_of_pixels_from_0_to_1() -> None:
    candidates = {candidate.name: candidate for candidate in candidate_domains((3, 32, 32), 10)}
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    assert np.allclose(candidates["ImageNet's mean and deviation"].low, (0 - mean) / std)
    assert np.allclose(candidates["ImageNet's mean and deviation"].high, (1 - mean) / std)


def test_the_commonest_comes_first() -> None:
    assert candidate_domains((3, 32, 32), 10)[0].name == "0..1"
    assert candidate_domains((3, 224, 224), 1000)[0].name == "ImageNet's mean and deviation"
    assert candidate_domains((13,), 3)[0].name == "-2..2"


def test_ranges_that_hardly_differ_are_near() -> None:
    candidates = {candidate.name: candidate for candidate in candidate_domains((3, 32, 32), 10)}
    imagenet, cifar = (candidates[f"{name}'s mean and deviation"] for name in ("ImageNet", "CIFAR-10"))
    assert imagenet.is_near(cifar)
    assert not candidates["0..1"].is_near(candidates["-1..1"])
