"""Metrics on logits, against numpy and worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zskd_onnx.metrics.classification import accuracy, agreement, calibration_error, class_accuracy, divergence


def logits(samples: int, classes: int, seed: int) -> Tensor:
    return 2 * torch.randn(samples, classes, generator=torch.Generator().manual_seed(seed))


def labels(samples: int, classes: int) -> Tensor:
    return torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(9))


def probabilities(values: Tensor) -> np.ndarray:
    e = np.exp(values.double().numpy())
    return e / e.sum(1, keepdims=True)


def test_worked_example() -> None:
    student = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [5.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    teacher = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 1.0], [5.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    truth = torch.tensor([0, 1, 1, 1])
    assert accuracy(student, truth) == 0.75
    assert class_accuracy(student, truth) == (1.0, pytest.approx(2 / 3), None)
    assert agreement(student, teacher) == 0.5


def test_divergence_is_the_mean_over_samples_of_kl_from_the_teacher() -> None:
    p, q = (probabilities(logits(50, 7, seed)) for seed in (1, 2))
    expected = (p * np.log(p / q)).sum(1).mean()
    assert divergence(logits(50, 7, 1), logits(50, 7, 2)) == pytest.approx(expected, rel=1e-6)
    assert divergence(logits(50, 7, 1), logits(50, 7, 1) + 3) == pytest.approx(0, abs=1e-12)


def test_calibration_error_bin_by_bin() -> None:
    values, truth = logits(400, 5, 3), labels(400, 5)
    p = probabilities(values)
    confidence, right = p.max(1), p.argmax(1) == truth.numpy()
    expected = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(values, truth) == pytest.approx(expected, rel=1e-9)


def test_calibration_error_by_hand() -> None:
    """0 for three of four right at a confidence of 3/4; 1 for none right at full confidence."""
    calibrated = torch.tensor([[math.log(3.0), 0.0]]).repeat(8, 1)
    assert calibration_error(calibrated, torch.tensor([0, 0, 0, 1] * 2)) == pytest.approx(0, abs=1e-7)
    overconfident = torch.tensor([[100.0, 0.0]]).repeat(4, 1)
    assert calibration_error(overconfident, torch.ones(4, dtype=torch.long)) == pytest.approx(1)
