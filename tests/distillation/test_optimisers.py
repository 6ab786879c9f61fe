"""Optimisers and their schedules, beside their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.distillation.train import _optimiser, _schedule

STEPS = 100


def rates(schedule: str) -> list[float]:
    """Of each step, with a peak of 0.1."""
    settings = Distillation(optimiser="sgd", learning_rate=0.1, schedule=schedule)
    optimiser = _optimiser([nn.Parameter(torch.zeros(1))], settings)
    steps, found = _schedule(optimiser, settings, STEPS), []
    for _ in range(STEPS):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        steps.step()
    return found


def test_steps_are_those_of_wide_resnets() -> None:
    """Of 200 epochs, a fifth after 60, 120 and 160."""
    expected = [0.1] * 30 + [0.02] * 30 + [0.004] * 20 + [0.0008] * 20
    assert rates("steps") == pytest.approx(expected)


def test_cosine_and_constant() -> None:
    assert rates("cosine") == pytest.approx([0.05 * (1 + math.cos(math.pi * step / STEPS)) for step in range(STEPS)])
    assert rates("constant") == [0.1] * STEPS


def test_one_cycle_rises_and_falls() -> None:
    found = rates("one_cycle")
    peak = found.index(max(found))
    assert max(found) == pytest.approx(0.1, rel=1e-3)
    assert found[:peak] == sorted(found[:peak])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert found[0] < 0.1 / 20
    assert found[-1] < 1e-4


def test_momentum_stays_whatever_the_rate_does() -> None:
    optimiser = _optimiser([nn.Parameter(torch.zeros(1))], Distillation(optimiser="sgd"))
    schedule = _schedule(optimiser, Distillation(optimiser="sgd"), STEPS)
    for _ in range(STEPS // 2):
        optimiser.step()
        schedule.step()
    assert optimiser.param_groups[0]["momentum"] == 0.9


def test_sgd_by_hand() -> None:
    """Nesterov: v = 0.9 v + g, w = w - rate (g + 0.9 v), where g has the L2 term."""
    settings = Distillation(optimiser="sgd", learning_rate=0.1, weight_decay=0.01, schedule="constant")
    weight = nn.Parameter(torch.tensor([2.0]))
    optimiser = _optimiser([weight], settings)
    expected, velocity = 2.0, 0.0
    for slope in (1.0, -3.0, 0.5):
        weight.grad = torch.tensor([slope])
        optimiser.step()
        gradient = slope + 0.01 * expected
        velocity = 0.9 * velocity + gradient
        expected -= 0.1 * (gradient + 0.9 * velocity)
        assert float(weight.detach()) == pytest.approx(expected, rel=1e-6)
