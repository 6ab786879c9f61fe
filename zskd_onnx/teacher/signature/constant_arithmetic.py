"""Arithmetic with constants behind a layer: a bias, a scale or a batch normalisation as one step."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from torch import Tensor

from zskd_onnx.importer.nodes import attributes, read_input, tensor_of

POSITION_AXES = 3
"""Largest number of position axes of a convolution's output."""


@dataclass(frozen=True)
class Arithmetic:
    """The step factor * x + constant.

    Attributes:
        factor: one number, or one for each channel; None for 1.
        constant: likewise; None for 0.
    """

    factor: Tensor | None = None
    constant: Tensor | None = None

    def is_per_channel(self, positions: int) -> bool:
        """Return whether the step is the same at all positions of values (N, C, *positions).

        Args:
            positions: number of position axes.
        """
        tensors = [t for t in (self.factor, self.constant) if t is not None and t.numel() != 1]
        return all(t.ndim > positions and all(n == 1 for n in t.shape[t.ndim - positions :]) for t in tensors)


def read_arithmetic(node: ir.Node) -> tuple[ir.Value, Arithmetic] | None:
    """Read a node that adds or multiplies by constants, or normalises with stored statistics.

    Returns:
        Its computed operand and the step; None for any other node.
    """
    if node.domain != "":
        return None
    if node.op_type == "BatchNormalization":
        return _batch_norm(node)
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    a, b = read_input(node, 0), read_input(node, 1)
    constant_first = a.const_value is not None
    if constant_first == (b.const_value is not None):
        return None
    value, c = (b, tensor_of(a).float()) if constant_first else (a, tensor_of(b).float())
    match node.op_type:
        case "Add":
            return value, Arithmetic(constant=c)
        case "Sub":
            return value, Arithmetic(c.new_tensor(-1), c) if constant_first else Arithmetic(constant=-c)
        case "Mul":
            return value, Arithmetic(factor=c)
    return None if constant_first or not c.all() else (value, Arithmetic(factor=1 / c))


def _batch_norm(node: ir.Node) -> tuple[ir.Value, Arithmetic] | None:
    """Return the input and the step of a BatchNormalization, or None if its parameters are computed."""
    settings = attributes(node)
    parameters = [read_input(node, i) for i in range(1, 5)]
    if settings.get("training_mode", 0) or any(p.const_value is None for p in parameters):
        return None
    scale, shift, mean, variance = (tensor_of(p).double() for p in parameters)
    factor = scale / (variance + settings.get("epsilon", 1e-5)).sqrt()
    shape = (-1, *(1,) * POSITION_AXES)  # it applies along the channels, whatever axes follow
    return read_input(node, 0), Arithmetic(
        factor.float().reshape(shape), (shift - mean * factor).float().reshape(shape)
    )
