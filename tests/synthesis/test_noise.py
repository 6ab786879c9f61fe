"""Noise samples."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from zskd_onnx.synthesis.noise import Noise
from zskd_onnx.teacher.teacher import Teacher

COUNT = 2000


def made(teacher: Teacher, distribution: str, seed: int = 0) -> torch.Tensor:
    return Noise(distribution=distribution).make(teacher, torch.zeros(COUNT, 10), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("distribution", "deviation", "at_ends"),
    # A normal value is beyond two standard deviations with probability erfc(sqrt 2).
    [("uniform", 1 / math.sqrt(12), 0.0), ("normal", 0.2398, math.erfc(math.sqrt(2)))],
)
def test_moments(digits: Teacher, distribution: str, deviation: float, at_ends: float) -> None:
    x = made(digits, distribution)
    assert x.shape == (COUNT, 1, 8, 8)
    assert float(x.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(x.std()) == pytest.approx(deviation, abs=0.002)
    assert float(((x == 0) | (x == 1)).float().mean()) == pytest.approx(at_ends, abs=0.003)
    assert x.min() >= 0
    assert x.max() <= 1


def test_the_random_generator_determines_the_samples(digits: Teacher) -> None:
    assert torch.equal(made(digits, "normal"), made(digits, "normal"))
    assert not torch.equal(made(digits, "normal"), made(digits, "normal", 1))


@pytest.mark.parametrize("shape", [(6,), (2, 5), (1, 3, 4, 5)])
def test_noise_of_any_shape(digits: Teacher, shape: tuple[int, ...]) -> None:
    digits.domain = replace(digits.domain, shape=shape)
    assert made(digits, "normal").shape == (COUNT, *shape)


def test_noise_needs_no_prior_and_no_passes() -> None:
    assert not Noise.needs_prior
    assert Noise().passes == 0
