"""The final fully connected layer, found on the graph by following the logits backwards, never by name."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from torch import Tensor

from zskd_onnx.importer.nodes import attributes, describe, read_input, tensor_of
from zskd_onnx.teacher.signature.affine import Affine, rows_of
from zskd_onnx.teacher.signature.quantized_head import Grid, quantized_linear, step_back

SAME_VALUES = frozenset({"Identity", "Dropout", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that hand values on, perhaps in another shape or type."""


@dataclass(frozen=True)
class Head:
    """The final fully connected layer, logits = weight h + bias.

    Attributes:
        weight: (K, F), one row for each class.
        bias: (K,), or None.
        node: the ONNX node that it was found at, as messages name it.
    """

    weight: Tensor
    bias: Tensor | None
    node: str


def find_affine(value: ir.Value, *, alone: bool = True) -> Affine | None:
    """Follow a value backwards to the linear layer, or the two that are averaged, behind it.

    Args:
        alone: False inside a sum, where no other sum is looked into: a file of nested sums
            would take for ever.
    """
    pooled = False
    grid: Grid | None = None
    steps: list[tuple[str, Tensor]] = []
    while (node := value.producer()) is not None:
        if (back := step_back(node, grid)) is not None:
            value, grid, pooled = back.value, back.grid, pooled or back.pooled
            steps += [] if back.applied is None else [back.applied]
        elif grid is not None or node.domain != "":
            break
        elif node.op_type in SAME_VALUES:
            value = read_input(node, 0)
        elif node.op_type == "GlobalAveragePool" or (node.op_type == "ReduceMean" and _over_positions(node)):
            pooled = True  # a mean over positions commutes with a 1x1 convolution
            value = read_input(node, 0)
        elif node.op_type in ("Add", "Mul", "Div") and (split := _constant_operand(node)) is not None:
            value = split[0]
            if node.op_type == "Div" and value is not node.inputs[0]:
                return None
            steps.append((node.op_type, tensor_of(split[1])))
        else:
            break
    if node is None:
        return None
    found: Affine | None
    if grid is None and node.domain == "" and node.op_type == "Add" and alone and not pooled:
        first, second = (find_affine(read_input(node, i), alone=False) for i in (0, 1))
        found = None if first is None or second is None else first.plus(second)
    else:
        found = quantized_linear(node, grid)
        if found is None and grid is None:
            found = _linear(node)
        if found is not None and pooled and not found.each_position:
            return None
    for kind, constant in reversed(steps):
        if found is None or (kind != "Add" and constant.numel() != 1) or (kind == "Div" and not constant):
            return None
        if kind == "Add":
            found = found.shifted(constant)
        else:
            found = found.scaled(float(constant) if kind == "Mul" else 1 / float(constant))
    return found


def _over_positions(node: ir.Node) -> bool:
    """Whether a mean of (N, C, H, W) is over H and W."""
    axes = attributes(node).get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None and node.inputs[1].const_value is not None:
        axes = tensor_of(node.inputs[1]).tolist()
    return axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]


def _constant_operand(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The computed and the constant operand of a binary node."""
    a, b = read_input(node, 0), read_input(node, 1)
    if b.const_value is not None:
        return a, b
    return (b, a) if a.const_value is not None else None


def _linear(node: ir.Node) -> Affine | None:
    """Gemm, MatMul or a 1x1 convolution with constant weights."""
    if node.domain != "" or node.op_type not in ("Gemm", "MatMul", "Conv"):
        return None
    data, matrix = read_input(node, 0), read_input(node, 1)
    if matrix.const_value is None:
        return None
    settings = attributes(node)
    rows = rows_of(node.op_type, tensor_of(matrix).float(), settings)
    if rows is None:
        return None
    found = Affine(rows, None, (data,), describe(node), each_position=node.op_type == "Conv")
    if len(node.inputs) > 2 and node.inputs[2] is not None and node.inputs[2].const_value is not None:
        return found.shifted(tensor_of(node.inputs[2]) * settings.get("beta", 1.0))
    return found
