"""What happens inside a student on the way to its logits, for losses that look at more than those."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zskd_onnx.teacher.probes.outputs import Answer


class Observed:
    """Runs a student and keeps the last value of each spatial size on the way, and what its final layer reads.

    Attributes:
        sizes: spatial sizes of the blocks, in the order in which they come.
        features: how many values the final fully connected layer reads; None where features are not wanted, or the student
            does not end with such a layer.
    """

    def __init__(
        self,
        student: nn.Module,
        shape: tuple[int, ...],
        *,
        sizes: Sequence[tuple[int, ...]] = (),
        features: bool = False,
    ) -> None:
        """
        Args:
            shape: of a sample in the unit space.
            sizes: spatial sizes of the blocks that are wanted; those that the student does not have are left out.
            features: whether features are wanted.
        """
        self.student = student
        self._head = _final_linear(student) if features else None
        self.features = None if self._head is None else self._head.in_features
        self.sizes = tuple(sizes)
        training = student.training
        with torch.enable_grad():  # it tells what depends on weights
            student.eval()
            logits, blocks, read = self._run(torch.zeros((1, *shape), device=next(student.parameters()).device))
            student.train(training)
        self.sizes = tuple(size for size in sizes if size in blocks)
        if self._head is not None and (read is None or read.ndim != 2 or self._head.out_features != logits.shape[1]):
            self._head = self.features = None

    def __call__(self, x: Tensor) -> Answer:
        """Logits (N, K), the blocks (N, C, *size), one for each of ``sizes``, and ``features`` (N, F)."""
        logits, blocks, read = self._run(x)
        return Answer(logits, tuple(blocks[size] for size in self.sizes), read)

    def _run(self, x: Tensor) -> tuple[Tensor, dict[tuple[int, ...], Tensor], Tensor | None]:
        """Logits, the last value of each size, and what the final layer reads."""
        read: list[Tensor] = []

        def keep_read(module: nn.Module, given: tuple[Any, ...]) -> None:
            read[:] = given

        hook = None if self._head is None else self._head.register_forward_pre_hook(keep_read)
        maps = _LastMaps(self.sizes, len(x))
        try:
            with maps if self.sizes else nullcontext():
                logits = self.student(x)
        finally:
            if hook is not None:
                hook.remove()
        return logits, maps.last, read[0] if read else None


class _LastMaps(TorchFunctionMode):
    """Keeps the last value of each spatial size that a function of torch gives, in a module or between them.

    Attributes:
        last: (N, C, *size) for each size that there was.
    """

    def __init__(self, sizes: tuple[tuple[int, ...], ...], samples: int) -> None:
        super().__init__()
        self.last: dict[tuple[int, ...], Tensor] = {}
        self._sizes, self._samples = sizes, samples

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        value = function(*args, **(kwargs or {}))
        if isinstance(value, Tensor) and self._counts(value):
            self.last[tuple(value.shape[2:])] = value
        return value

    def _counts(self, value: Tensor) -> bool:
        """Whether it is a map of these samples that the student's weights make; inputs, masks and statistics are none."""
        if tuple(value.shape[2:]) not in self._sizes or len(value) != self._samples:
            return False
        return value.is_floating_point() and (value.requires_grad or not torch.is_grad_enabled())


def _final_linear(student: nn.Module) -> nn.Linear | None:
    """The last fully connected layer that a student names."""
    layers = [module for module in student.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None
