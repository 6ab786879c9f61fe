"""Shapes and cost of a graph, from a run on the meta device: nothing is computed, nothing allocated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.budget import Budget
from zskd_onnx.importer.operators.elementwise import DIVISIONS, divides_safely

ACTIVATION_LIMIT = 1 << 31
"""Elements that the values of one sample may have together."""

VALUE_LIMIT = 1 << 27
"""Elements that one value of one sample may have."""

WORK_LIMIT = 1 << 42
"""Operations that one sample may take: twice those of the largest classifiers published."""

SAMPLES = 2


@dataclass(frozen=True)
class Cost:
    """What one sample costs.

    Attributes:
        outputs: shapes of the module's outputs, batch first.
        dtype: element type of the first output.
        multiply_adds: of convolutions and matrix products, for one sample.
        activations: elements of all intermediate values, for one sample.
    """

    outputs: tuple[tuple[int, ...], ...]
    dtype: torch.dtype
    multiply_adds: int
    activations: int


class _Measure(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, limit: int) -> None:
        super().__init__(module)
        self.extra_traceback = False
        self.limit = limit
        self.activations = 0

    def run_node(self, n: fx.Node) -> object:
        try:
            result = super().run_node(n)
        except Exception as error:
            reason = (str(error) or type(error).__name__).strip().split("\n", 1)[0][:300]
            raise UnsupportedTeacherError(f"{n.meta.get('onnx', n.name)}: {reason}") from error
        if isinstance(result, Tensor) and n.op not in ("get_attr", "placeholder"):
            self.activations += result.numel()
            if n.target in DIVISIONS and not result.is_floating_point():
                self.check_divisor(n)
            if self.activations > self.limit:
                raise UnsupportedTeacherError(
                    f"{n.meta.get('onnx', n.name)}: a batch needs more than {self.limit:,} values; not a classifier to distil"
                )
        return result

    def fetch_attr(self, target: str) -> Tensor:
        weight: Tensor = super().fetch_attr(target)
        return torch.empty_strided(weight.shape, weight.stride(), dtype=weight.dtype, device="meta")

    def check_divisor(self, n: fx.Node) -> None:
        divisor = n.args[1]
        constant = isinstance(divisor, fx.Node) and divisor.op == "get_attr"
        if not constant or not divides_safely(super().fetch_attr(str(divisor.target))):  # type: ignore[union-attr]
            raise UnsupportedTeacherError(
                f"{n.meta.get('onnx', n.name)}: integers are divided by what may be 0 or -1, which can end the process; "
                "export the model with floating-point numbers"
            )


def measure(
    module: fx.GraphModule, sample: tuple[int, ...], dtype: torch.dtype, batch: int = 1, samples: int = SAMPLES
) -> Cost:
    """Run a module on samples that hold nothing.

    Args:
        sample: shape of one sample in the file's order.
        batch: how many samples the file wants at least, for the limits.
        samples: how many to run.

    Raises:
        UnsupportedTeacherError: a node fails (the message names it) or would not fit in memory.
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
