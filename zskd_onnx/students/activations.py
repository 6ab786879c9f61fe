"""Recording of a student's activation maps and features, for losses that compare more than logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zskd_onnx.teacher.probes.outputs import Outputs


class ActivationRecorder:
    """Runs a student and returns its logits, activation maps and features.

    The activation map of a spatial size is the last tensor of that size which depends on the student's
    weights, wherever it is computed: in a module or in the forward method.

    Attributes:
        sizes: spatial sizes of the activation maps, in the order of ``Outputs.maps``.
        features: number of inputs of the final fully connected layer. None if features are not recorded
            or the student does not end with such a layer.
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
            shape: shape of one sample in the unit space.
            sizes: spatial sizes to record; sizes that the student does not have are dropped.
            features: whether to record the input of the final fully connected layer.
        """
        self.student = student
        self._head = _final_linear(student) if features else None
        self.features = None if self._head is None else self._head.in_features
        self.sizes = tuple(sizes)
        training = student.training
        with torch.enable_grad():  # shows which tensors depend on weights
            student.eval()
            device = next(student.parameters()).device
            logits, maps, head_input = self._run(torch.zeros((1, *shape), device=device))
            student.train(training)
        self.sizes = tuple(size for size in sizes if size in maps)
        if self._head is not None and (
            head_input is None or head_input.ndim != 2 or self._head.out_features != logits.shape[1]
        ):
            self._head = self.features = None

    def __call__(self, x: Tensor) -> Outputs:
        """Logits (N, K), a map (N, C, *size) for each of ``sizes``, and features (N, F) or None."""
        logits, maps, head_input = self._run(x)
        return Outputs(logits, tuple(maps[size] for size in self.sizes), head_input)

    def _run(self, x: Tensor) -> tuple[Tensor, dict[tuple[int, ...], Tensor], Tensor | None]:
        """Logits, the activation map of each size, and the input of the final layer."""
        head_inputs: list[Tensor] = []

        def record_inputs(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            head_inputs[:] = inputs

        hook = None if self._head is None else self._head.register_forward_pre_hook(record_inputs)
        recorder = _MapRecorder(self.sizes, len(x))
        try:
            with recorder if self.sizes else nullcontext():
                logits = self.student(x)
        finally:
            if hook is not None:
                hook.remove()
        return logits, recorder.maps, head_inputs[0] if head_inputs else None


class _MapRecorder(TorchFunctionMode):
    """Records the last tensor of each spatial size that a torch function returns.

    Attributes:
        maps: (N, C, *size) for each size that occurred.
    """

    def __init__(self, sizes: tuple[tuple[int, ...], ...], samples: int) -> None:
        super().__init__()
        self.maps: dict[tuple[int, ...], Tensor] = {}
        self._sizes, self._samples = sizes, samples

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        value = function(*args, **(kwargs or {}))
        if isinstance(value, Tensor) and self._is_map(value):
            self.maps[tuple(value.shape[2:])] = value
        return value

    def _is_map(self, value: Tensor) -> bool:
        """Whether the tensor is a map of these samples that depends on weights, not an input, mask or statistic."""
        if tuple(value.shape[2:]) not in self._sizes or len(value) != self._samples:
            return False
        return value.is_floating_point() and (value.requires_grad or not torch.is_grad_enabled())


def _final_linear(student: nn.Module) -> nn.Linear | None:
    """The last fully connected layer among the student's modules."""
    layers = [module for module in student.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None
