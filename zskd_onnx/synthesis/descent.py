"""Gradient descent in which each sample stops on its own, and another one takes its slot."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CHECK_INTERVAL = 5
"""Steps between two checks for finished samples; each check waits for the device."""

BETAS = (0.9, 0.999)
EPS = 1e-8

Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From samples (S, *shape) and their indices (S,) to gradients (S, *shape) and whether each is finished (S,)."""


def most_passes(iterations: int) -> int:
    """Largest number of evaluations that ``descend_each`` makes of samples that all have a slot from the start.

    One more than steps shows that a sample has made its last one, and only checks look for it.
    """
    return -(-(iterations + 1) // CHECK_INTERVAL) * CHECK_INTERVAL


class SampleAdam:
    """Adam (Kingma & Ba 2015) with moments and a step count for each sample."""

    def __init__(self, x: Tensor, learning_rate: float) -> None:
        """``x``: samples (S, *shape), all before their first step."""
        self.learning_rate = learning_rate
        # In float32, 1 - 0.999 would have four digits.
        self.steps = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        self.mean, self.square = torch.zeros_like(x), torch.zeros_like(x)

    def step(self, x: Tensor, gradient: Tensor, moving: Tensor) -> Tensor:
        """Samples after a step; samples that are not ``moving`` (S,) are returned unchanged."""
        x = x.detach()  # no gradient flows through the step
        self.steps += moving
        per_sample = (-1, *(1,) * (x.ndim - 1))
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.lerp_(gradient.square(), 1 - BETAS[1])
        first, second = ((1 - beta**self.steps).to(x.dtype).view(per_sample) for beta in BETAS)
        moved = x - self.learning_rate * (self.mean / first) / ((self.square / second).sqrt() + EPS)
        return torch.where(moving.view(per_sample), moved, x)

    def restart(self, slots: Tensor) -> None:
        """Reset the state of slots that hold new samples."""
        for state in (self.steps, self.mean, self.square):
            state[slots] = 0

    def keep(self, slots: Tensor) -> None:
        """Drop the state of all other slots."""
        self.steps, self.mean, self.square = self.steps[slots], self.mean[slots], self.square[slots]


def descend_each(
    start: Tensor,
    evaluate: Evaluate,
    *,
    slots: int,
    iterations: int,
    learning_rate: float,
    bounds: tuple[float, float] | None = None,
) -> Tensor:
    """Samples after descent with Adam, each until ``evaluate`` says that it is finished.

    ``slots`` samples are computed together. A finished sample stops moving at once. At the next check it is
    stored, and the next sample of ``start`` takes its slot with moments of zero. So the result for a sample
    does not depend on the other samples, except for rounding.

    Args:
        start: initial samples (N, *shape).
        evaluate: gradients, and which samples are finished before the step along them.
        slots: number of samples that are computed together.
        iterations: largest number of steps of a sample.
        bounds: range that values are clamped to, initially and after every step; None for any.

    Returns:
        (N, *shape), in the order of ``start``.
    """
    start = start if bounds is None else start.clamp(*bounds)
    results = torch.empty_like(start)
    rows = torch.arange(min(slots, len(start)), device=start.device)
    waiting = len(rows)
    x, moving = start[rows], torch.ones_like(rows, dtype=torch.bool)
    adam = SampleAdam(x, learning_rate)
    while len(rows):
        for _ in range(CHECK_INTERVAL):
            gradient, finished = evaluate(x, rows)
            moving = moving & ~finished & (adam.steps < iterations)
            x = adam.step(x, gradient, moving)
            if bounds is not None:
                x.clamp_(*bounds)
        stopped = (~moving).nonzero().flatten()
        results[rows[stopped]] = x[stopped]
        entering = torch.arange(waiting, min(waiting + len(stopped), len(start)), device=start.device)
        waiting += len(entering)
        refilled = stopped[: len(entering)]
        rows[refilled], x[refilled], moving[refilled] = entering, start[entering], True
        adam.restart(refilled)
        if len(refilled) < len(stopped):
            occupied = moving.nonzero().flatten()
            rows, x, moving = rows[occupied], x[occupied], moving[occupied]
            adam.keep(occupied)
    return results
