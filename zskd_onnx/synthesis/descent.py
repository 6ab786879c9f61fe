"""Descent in which each sample ends when it is done, and another takes its place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CHECK = 5
"""Steps between two looks at which samples are done: each look waits for the device."""

BETAS = (0.9, 0.999)
EPS = 1e-8

Look = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From samples (S, *shape) and their numbers (S,) to gradients (S, *shape) and whether each is done (S,)."""


class SampleAdam:
    """Adam (Kingma & Ba 2015) for which every sample has moments and a step count of its own."""

    def __init__(self, x: Tensor, learning_rate: float) -> None:
        """``x``: samples (S, *shape), all before their first step."""
        self.learning_rate = learning_rate
        self.steps = torch.zeros(len(x), dtype=torch.float64, device=x.device)  # 1 - 0.999 has four digits in float32
        self.mean, self.square = torch.zeros_like(x), torch.zeros_like(x)

    def step(self, x: Tensor, gradient: Tensor, moving: Tensor) -> Tensor:
        """Samples after a step; those that are not ``moving`` (S,) stay where they are."""
        x = x.detach()  # a look wants its gradient, nobody one through the step
        self.steps += moving
        each = (-1, *(1,) * (x.ndim - 1))
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.lerp_(gradient.square(), 1 - BETAS[1])
        first, second = ((1 - beta**self.steps).to(x.dtype).view(each) for beta in BETAS)
        moved = x - self.learning_rate * (self.mean / first) / ((self.square / second).sqrt() + EPS)
        return torch.where(moving.view(each), moved, x)

    def restart(self, slots: Tensor) -> None:
        """New samples stand in these places."""
        for state in (self.steps, self.mean, self.square):
            state[slots] = 0

    def keep(self, slots: Tensor) -> None:
        """Only the samples in these places go on."""
        self.steps, self.mean, self.square = self.steps[slots], self.mean[slots], self.square[slots]


def descend_each(
    start: Tensor, look: Look, *, slots: int, iterations: int, learning_rate: float, clip: bool = False
) -> Tensor:
    """Move each sample with Adam until ``look`` says that it is done.

    Samples go through ``slots`` places together. One that is done stays as it was when it was found
    to be, leaves at the next check, and the next of ``start`` takes its place with moments of zero.
    So a sample is the same whichever samples stand beside it, but for the rounding of sums.

    Args:
        start: where samples begin, (N, *shape).
        look: judges samples as they are before the step that its gradient makes.
        slots: samples that are computed together.
        iterations: steps after which a sample ends in any case.
        clip: whether samples are kept within [0, 1], from the start on.

    Returns:
        (N, *shape), in the order of ``start``.
    """
    start = start.clamp(0, 1) if clip else start
    made = torch.empty_like(start)
    rows = torch.arange(min(slots, len(start)), device=start.device)
    waiting = len(rows)
    x, moving = start[rows], torch.ones_like(rows, dtype=torch.bool)
    adam = SampleAdam(x, learning_rate)
    while len(rows):
        for _ in range(CHECK):
            gradient, done = look(x, rows)
            moving = moving & ~done & (adam.steps < iterations)
            x = adam.step(x, gradient, moving)
            if clip:
                x.clamp_(0, 1)
        ended = (~moving).nonzero().flatten()
        made[rows[ended]] = x[ended]
        entering = torch.arange(waiting, min(waiting + len(ended), len(start)), device=start.device)
        waiting += len(entering)
        filled = ended[: len(entering)]
        rows[filled], x[filled], moving[filled] = entering, start[entering], True
        adam.restart(filled)
        if len(filled) < len(ended):
            left = moving.nonzero().flatten()
            rows, x, moving = rows[left], x[left], moving[left]
            adam.keep(left)
    return made
