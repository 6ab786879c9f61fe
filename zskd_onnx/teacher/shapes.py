"""Shapes and cost of a graph, from a run on fake tensors: nothing is computed, nothing allocated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from zskd_onnx.errors import UnsupportedTeacherError

ACTIVATION_LIMIT = 1 << 31
"""Elements that the values of one sample may have together."""


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
    def __init__(self, module: fx.GraphModule, batch: int) -> None:
        super().__init__(module)
        self.batch = batch
        self.activations = 0

    def run_node(self, n: fx.Node) -> object:
        try:
            result = super().run_node(n)
        except Exception as error:
            reason = str(error).strip().split("\n", 1)[0][:300]
            raise UnsupportedTeacherError(f"{n.meta.get('onnx', n.name)}: {reason}") from error
        if isinstance(result, Tensor) and n.op not in ("get_attr", "placeholder"):
            self.activations += result.numel()
            if self.activations > self.batch * ACTIVATION_LIMIT:
                raise UnsupportedTeacherError(
                    f"{n.meta.get('onnx', n.name)}: one sample needs more than {ACTIVATION_LIMIT:,} values; not a classifier to distil"
                )
        return result


def measure(module: fx.GraphModule, sample: tuple[int, ...], dtype: torch.dtype, batch: int = 2) -> Cost:
    """Run a module on fake samples.

    Args:
        sample: shape of one sample in the file's order.
        batch: how many.

    Raises:
        UnsupportedTeacherError: a node fails (the message names it) or would not fit in memory.
    """
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), counter:
        interpreter = _Measure(module, batch)
        outputs = interpreter.run(torch.empty((batch, *sample), dtype=dtype))
    # A multiply-add is two operations.
    return Cost(
        outputs=tuple(tuple(o.shape) for o in outputs),
        dtype=outputs[0].dtype,
        multiply_adds=counter.get_total_flops() // (2 * batch),
        activations=interpreter.activations // batch,
    )
