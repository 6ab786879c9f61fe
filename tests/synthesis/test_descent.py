"""Descent sample by sample, against torch's Adam and against itself with other neighbours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zskd_onnx.synthesis.descent import CHECK, SampleAdam, descend_each

GOALS = torch.randn(23, 2, 3, generator=torch.Generator().manual_seed(1))
START = 4 * torch.randn(23, 2, 3, generator=torch.Generator().manual_seed(0))
NEAR = 0.5


def bowl(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Towards each sample's own goal; done when near it."""
    away = x - GOALS[rows]
    return 2 * away, away.flatten(1).norm(dim=1) < NEAR


def alone(row: int, iterations: int, learning_rate: float, clip: bool = False) -> tuple[Tensor, int]:
    """One sample with torch's optimiser: where it ends and after how many steps."""
    x = START[row : row + 1].clone()
    if clip:
        x.clamp_(0, 1)
    optimiser = torch.optim.Adam([x], lr=learning_rate)
    for step in range(iterations):
        x.grad, done = bowl(x, torch.tensor([row]))
        if done:
            return x[0], step
        optimiser.step()
        if clip:
            x.clamp_(0, 1)
    return x[0], iterations


def test_one_step_count_for_each_sample_is_adam() -> None:
    x, adam = START.clone(), SampleAdam(START, 0.1)
    theirs = START.clone()
    optimiser = torch.optim.Adam([theirs], lr=0.1)
    everywhere = torch.ones(len(x), dtype=torch.bool)
    for _ in range(12):
        x = adam.step(x, bowl(x, torch.arange(23))[0], everywhere)
        theirs.grad = bowl(theirs, torch.arange(23))[0]
        optimiser.step()
    torch.testing.assert_close(x, theirs)


@pytest.mark.parametrize("slots", [1, 4, 23, 100])
@pytest.mark.parametrize("iterations", [3, 30, 400])
def test_every_sample_ends_where_it_ends_alone(slots: int, iterations: int) -> None:
    made = descend_each(START, bowl, slots=slots, iterations=iterations, learning_rate=0.2)
    ends = [alone(row, iterations, 0.2) for row in range(23)]
    torch.testing.assert_close(made, torch.stack([x for x, _ in ends]))
    if iterations == 400:
        steps = {step for _, step in ends}
        assert len(steps) > 5  # they do end one by one
        assert max(steps) < 400


def test_samples_stay_in_the_unit_space() -> None:
    made = descend_each(START, bowl, slots=5, iterations=40, learning_rate=0.2, clip=True)
    torch.testing.assert_close(made, torch.stack([alone(row, 40, 0.2, clip=True)[0] for row in range(23)]))
    assert made.min() >= 0
    assert made.max() <= 1


def test_places_are_filled_again() -> None:
    """Work is that of the samples, not that of batches that wait for their slowest."""
    seen: list[int] = []

    def look(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(rows))
        return bowl(x, rows)

    descend_each(START, look, slots=4, iterations=400, learning_rate=0.2)
    needed = sum(alone(row, 400, 0.2)[1] + CHECK for row in range(23))
    assert max(seen) == 4
    assert sum(seen) <= needed


def test_what_is_done_at_once_does_not_move() -> None:
    made = descend_each(GOALS, bowl, slots=4, iterations=10, learning_rate=0.2)
    assert torch.equal(made, GOALS)


def test_no_step_keeps_the_ones_before_it() -> None:
    """A look that asks for a gradient leaves no history behind."""

    def look(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        assert x.grad_fn is None
        x.requires_grad_()
        (gradient,) = torch.autograd.grad((x - GOALS[rows]).square().sum(), x)
        return gradient, torch.zeros(len(x), dtype=torch.bool)

    made = descend_each(START, look, slots=5, iterations=12, learning_rate=0.2, clip=True)
    assert not made.requires_grad
    torch.testing.assert_close(made[0], alone(0, 12, 0.2, clip=True)[0])
