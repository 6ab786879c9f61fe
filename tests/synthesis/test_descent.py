"""Descent per sample, compared with torch's Adam for each sample on its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zskd_onnx.synthesis.descent import CHECK_INTERVAL, SampleAdam, descend_each, most_passes

GOALS = torch.randn(23, 2, 3, generator=torch.Generator().manual_seed(1))
START = 4 * torch.randn(23, 2, 3, generator=torch.Generator().manual_seed(0))
NEAR = 0.5


def bowl(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the squared distance to each sample's goal, and whether the sample is near it."""
    offset = x - GOALS[rows]
    return 2 * offset, offset.flatten(1).norm(dim=1) < NEAR


def descend_one(row: int, iterations: int, learning_rate: float, clamp: bool = False) -> tuple[Tensor, int]:
    """The result for one sample with torch's optimiser, and its number of steps."""
    x = START[row : row + 1].clone()
    if clamp:
        x.clamp_(0, 1)
    optimiser = torch.optim.Adam([x], lr=learning_rate)
    for step in range(iterations):
        x.grad, finished = bowl(x, torch.tensor([row]))
        if finished:
            return x[0], step
        optimiser.step()
        if clamp:
            x.clamp_(0, 1)
    return x[0], iterations


def test_without_stopping_it_is_torchs_adam() -> None:
    x, adam = START.clone(), SampleAdam(START, 0.1)
    expected = START.clone()
    optimiser = torch.optim.Adam([expected], lr=0.1)
    moving = torch.ones(len(x), dtype=torch.bool)
    for _ in range(12):
        x = adam.step(x, bowl(x, torch.arange(23))[0], moving)
        expected.grad = bowl(expected, torch.arange(23))[0]
        optimiser.step()
    torch.testing.assert_close(x, expected)


@pytest.mark.parametrize("slots", [1, 4, 23, 100])
@pytest.mark.parametrize("iterations", [3, 30, 400])
def test_every_sample_ends_as_it_does_on_its_own(slots: int, iterations: int) -> None:
    made = descend_each(START, bowl, slots=slots, iterations=iterations, learning_rate=0.2)
    ends = [descend_one(row, iterations, 0.2) for row in range(23)]
    torch.testing.assert_close(made, torch.stack([x for x, _ in ends]))
    if iterations == 400:
        steps = {step for _, step in ends}
        assert len(steps) > 5  # samples stop at different steps
        assert max(steps) < 400


def test_clamped_samples_stay_in_the_unit_space() -> None:
    made = descend_each(START, bowl, slots=5, iterations=40, learning_rate=0.2, bounds=(0, 1))
    torch.testing.assert_close(made, torch.stack([descend_one(row, 40, 0.2, clamp=True)[0] for row in range(23)]))
    assert made.min() >= 0
    assert made.max() <= 1


def test_slots_are_refilled() -> None:
    """The work is proportional to the steps of all samples; no batch waits for its slowest sample."""
    counts: list[int] = []

    def evaluate(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        counts.append(len(rows))
        return bowl(x, rows)

    descend_each(START, evaluate, slots=4, iterations=400, learning_rate=0.2)
    limit = sum(descend_one(row, 400, 0.2)[1] + CHECK_INTERVAL for row in range(23))
    assert max(counts) == 4
    assert sum(counts) <= limit


def test_a_sample_that_is_finished_initially_does_not_move() -> None:
    made = descend_each(GOALS, bowl, slots=4, iterations=10, learning_rate=0.2)
    assert torch.equal(made, GOALS)


def test_steps_keep_no_autograd_history() -> None:
    """``evaluate`` may require gradients."""

    def evaluate(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        assert x.grad_fn is None
        x.requires_grad_()
        (gradient,) = torch.autograd.grad((x - GOALS[rows]).square().sum(), x)
        return gradient, torch.zeros(len(x), dtype=torch.bool)

    made = descend_each(START, evaluate, slots=5, iterations=12, learning_rate=0.2, bounds=(0, 1))
    assert not made.requires_grad
    torch.testing.assert_close(made[0], descend_one(0, 12, 0.2, clamp=True)[0])


@pytest.mark.parametrize("iterations", [1, 4, 5, 12, 50])
def test_most_passes_are_those_of_samples_that_never_stop(iterations: int) -> None:
    evaluations = 0

    def never(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal evaluations
        evaluations += 1
        return torch.ones_like(x), torch.zeros_like(rows, dtype=torch.bool)

    descend_each(START, never, slots=len(START), iterations=iterations, learning_rate=0.1)
    assert evaluations == most_passes(iterations)
