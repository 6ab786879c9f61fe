"""The activation blocks of a student, for attention transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Blocks:
    """Runs a student and keeps the last value of each spatial size on the way.

    Attributes:
        sizes: spatial sizes of the blocks, in the order in which they come.
    """

    def __init__(self, student: nn.Module, shape: tuple[int, ...], wanted: Sequence[tuple[int, ...]]) -> None:
        """``shape`` is a sample's in the unit space; sizes that the student does not have are left out."""
        self.student = student
        self._values: dict[tuple[int, ...], Tensor] = {}
        self.sizes: tuple[tuple[int, ...], ...] = ()
        training = student.training
        with torch.no_grad():
            like = next(student.parameters())
            student.eval()
            self._run(torch.zeros((1, *shape), device=like.device), tuple(wanted))
            student.train(training)
        self.sizes = tuple(size for size in wanted if size in self._values)

    def __call__(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits (N, K) and the blocks (N, C, *size), one for each of ``sizes``."""
        logits = self._run(x, self.sizes)
        return logits, tuple(self._values[size] for size in self.sizes)

    def _run(self, x: Tensor, sizes: tuple[tuple[int, ...], ...]) -> Tensor:
        self._values = {}

        def keep(module: nn.Module, given: Any, value: Any) -> None:
            if isinstance(value, Tensor) and tuple(value.shape[2:]) in sizes:
                self._values[tuple(value.shape[2:])] = value

        hooks = [module.register_forward_hook(keep) for module in self.student.modules()]
        try:
            return self.student(x)
        finally:
            for hook in hooks:
                hook.remove()
