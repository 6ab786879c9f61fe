"""Optimisers and schedules against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.distillation.train import _optimiser, _schedule

STEPS = 100


def rates(schedule: str) -> list[float]:
    """The learning rate of each step; its peak is 0.1."""
    settings = Distillation(optimiser="sgd", learning_rate=0.1, schedule=schedule)
    optimiser = _optimiser([nn.Parameter(torch.zeros(1))], settings)
    lr_schedule, values = _schedule(optimiser, settings, STEPS), []
    for _ in range(STEPS):
        values.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        lr_schedule.step()
    return values


def test_steps_schedule_is_that_of_wide_resnets() -> None:
    """The rate falls to a fifth after 60, 120 and 160 of 200 epochs."""
    expected = [0.1] * 30 + [0.02] * 30 + [0.004] * 20 + [0.0008] * 20
    assert rates("steps") == pytest.approx(expected)


def test_cosine_and_constant_schedules() -> None:
    assert rates("cosine") == pytest.approx([0.05 * (1 + math.cos(math.pi * step / STEPS)) for step in range(STEPS)])
    assert rates("constant") == [0.1] * STEPS


def test_one_cycle_schedule_rises_and_falls() -> None:
    values = rates("one_cycle")
    peak = values.index(max(values))
    assert max(values) == pytest.approx(0.1, rel=1e-3)
    assert values[:peak] == sorted(values[:peak])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    assert values[0] < 0.1 / 20
    assert values[-1] < 1e-4


def test_one_cycle_schedule_keeps_the_momentum_of_sgd() -> None:
    optimiser = _optimiser([nn.Parameter(torch.zeros(1))], Distillation(optimiser="sgd"))
    schedule = _schedule(optimiser, Distillation(optimiser="sgd"), STEPS)
    for _ in range(STEPS // 2):
        optimiser.step()
        schedule.step()
    assert optimiser.param_groups[0]["momentum"] == 0.9


def test_sgd_by_hand() -> None:
    """Nesterov momentum: v = 0.9 v + g, w = w - rate (g + 0.9 v), where g includes the L2 term."""
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
