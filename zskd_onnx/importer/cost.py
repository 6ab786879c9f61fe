"""Measure the output shapes and the cost of an imported graph.

The graph runs on torch's meta device, which knows shapes but has no data. Nothing is computed
and no memory is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.budget import Budget
from zskd_onnx.importer.fx_graph import NodeByNode, describe
from zskd_onnx.importer.operators.elementwise import DIVISIONS, divides_safely

ACTIVATION_LIMIT = 1 << 31
"""Largest number of elements of all intermediate values of one sample together."""

VALUE_LIMIT = 1 << 27
"""Largest number of elements of one intermediate value of one sample."""

WORK_LIMIT = 1 << 42
"""Largest number of operations for one sample: twice those of the largest published classifiers."""

SAMPLES = 2
"""Default batch size of the measurement."""


@dataclass(frozen=True)
class Cost:
    """Output shapes of a module, and the cost of one sample.

    Attributes:
        outputs: shapes of the module's outputs, batch first.
        dtype: element type of the first output.
        multiply_adds: multiply-adds of convolutions and matrix products, for one sample.
        activations: elements of all intermediate values together, for one sample.
    """

    outputs: tuple[tuple[int, ...], ...]
    dtype: torch.dtype
    multiply_adds: int
    activations: int

    def batch_size(self, most: int, memory: int = 2**30) -> int:
        """The number of samples, 1 to ``most``, whose intermediate values take at most ``memory`` bytes in float32."""
        return max(1, min(most, memory // (4 * max(1, self.activations))))


class _Measure(NodeByNode):
    def __init__(self, module: fx.GraphModule, limit: int) -> None:
        super().__init__(module)
        self.limit = limit
        self.activations = 0

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, Tensor) and n.op not in ("get_attr", "placeholder"):
            self.activations += result.numel()
            if n.target in DIVISIONS and not result.is_floating_point():
                self.check_divisor(n)
            if self.activations > self.limit:
                raise UnsupportedTeacherError(
                    f"{describe(n)}: the values up to this node have more than {self.limit:,} elements, the limit for "
                    "a batch; expected a smaller classifier"
                )
        return result

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Tensor:
        weight: Tensor = self.fetch_attr(target)
        return torch.empty_strided(weight.shape, weight.stride(), dtype=weight.dtype, device="meta")

    def check_divisor(self, n: fx.Node) -> None:
        divisor = n.args[1]
        constant = isinstance(divisor, fx.Node) and divisor.op == "get_attr"
        if not constant or not divides_safely(self.fetch_attr(str(divisor.target))):  # type: ignore[union-attr]
            raise UnsupportedTeacherError(
                f"{describe(n)}: the divisor of an integer division may be 0 or -1, which can end the process; "
                "export the model with floating-point numbers"
            )


def measure(
    module: fx.GraphModule, sample: tuple[int, ...], dtype: torch.dtype, batch: int = 1, samples: int = SAMPLES
) -> Cost:
    """Run a module on the meta device, and count what it computes.

    Args:
        module: takes one tensor (N, *sample) and returns a tuple of tensors.
        sample: shape of one sample in the file's axis order.
        dtype: element type of the input.
        batch: the file's own batch size, which scales the limits.
        samples: batch size of the measurement.

    Returns:
        The cost of one sample.

    Raises:
        UnsupportedTeacherError: a node fails or exceeds a limit; the message names it.
    """
    budget = Budget(samples * VALUE_LIMIT // batch, samples * WORK_LIMIT // batch)
    with torch.device("meta"), torch.no_grad(), budget:
        interpreter = _Measure(module, samples * ACTIVATION_LIMIT // batch)
        outputs = interpreter.run(torch.empty((samples, *sample), dtype=dtype))
    return Cost(
        outputs=tuple(tuple(o.shape) for o in outputs),
        dtype=outputs[0].dtype,
        multiply_adds=budget.multiply_adds // samples,
        activations=interpreter.activations // samples,
    )
