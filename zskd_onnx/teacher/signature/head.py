"""The final fully connected layer, found by following the logits backwards through the graph."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from torch import Tensor

from zskd_onnx.importer.nodes import attributes, describe, read_input, tensor_of
from zskd_onnx.teacher.signature.affine import Affine, weight_matrix
from zskd_onnx.teacher.signature.quantized_head import QuantParams, quantized_linear, step_back

SAME_VALUES = frozenset({"Identity", "Dropout", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators whose output has the values of their input, perhaps in another shape or type."""


@dataclass(frozen=True)
class Head:
    """The final fully connected layer, logits = W h + b.

    Attributes:
        weight: W, shape (K, F), one row per class.
        bias: b, shape (K,), or None.
        node: the ONNX node of the layer, as messages name it.
    """

    weight: Tensor
    bias: Tensor | None
    node: str


def find_affine(value: ir.Value, *, follow_sum: bool = True) -> Affine | None:
    """Find the linear layer that computes a value, or the two linear layers whose sum it is.

    The search passes reshapes, means over positions, quantisers, and arithmetic with constants.

    Args:
        follow_sum: whether to look behind a sum of two computed values. The search turns it off behind
            the first such sum, because nested sums would take exponential time.

    Returns:
        The value as an affine map, or None if anything else computes it.
    """
    pooled = False
    params: QuantParams | None = None
    arithmetic: list[tuple[str, Tensor]] = []  # operator and constant, the last one of the graph first
    while (node := value.producer()) is not None:
        if (step := step_back(node, params)) is not None:
            value, params, pooled = step.value, step.params, pooled or step.pooled
            arithmetic += [] if step.arithmetic is None else [step.arithmetic]
        elif params is not None or node.domain != "":
            break
        elif node.op_type in SAME_VALUES:
            value = read_input(node, 0)
        elif node.op_type == "GlobalAveragePool" or (node.op_type == "ReduceMean" and _is_over_positions(node)):
            pooled = True  # a mean over positions commutes with a 1x1 convolution
            value = read_input(node, 0)
        elif node.op_type in ("Add", "Mul", "Div") and (operands := _computed_and_constant(node)) is not None:
            value = operands[0]
            if node.op_type == "Div" and value is not node.inputs[0]:
                return None
            arithmetic.append((node.op_type, tensor_of(operands[1])))
        else:
            break
    if node is None:
        return None
    affine: Affine | None
    if params is None and node.domain == "" and node.op_type == "Add" and follow_sum and not pooled:
        first, second = (find_affine(read_input(node, i), follow_sum=False) for i in (0, 1))
        affine = None if first is None or second is None else first.plus(second)
    else:
        affine = quantized_linear(node, params)
        if affine is None and params is None:
            affine = _linear(node)
        if affine is not None and pooled and not affine.each_position:
            return None
    for op_type, constant in reversed(arithmetic):
        if affine is None or (op_type != "Add" and constant.numel() != 1) or (op_type == "Div" and not constant):
            return None
        if op_type == "Add":
            affine = affine.shifted(constant)
        else:
            affine = affine.scaled(float(constant) if op_type == "Mul" else 1 / float(constant))
    return affine


def _is_over_positions(node: ir.Node) -> bool:
    """Return whether a ReduceMean of (N, C, H, W) reduces H and W."""
    axes = attributes(node).get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None and node.inputs[1].const_value is not None:
        axes = tensor_of(node.inputs[1]).tolist()
    return axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]


def _computed_and_constant(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """Return the computed and the constant operand of a binary node, or None if neither is constant."""
    a, b = read_input(node, 0), read_input(node, 1)
    if b.const_value is not None:
        return a, b
    return (b, a) if a.const_value is not None else None


def _linear(node: ir.Node) -> Affine | None:
    """Return the affine map of Gemm, MatMul or a 1x1 convolution with constant weights."""
    if node.domain != "" or node.op_type not in ("Gemm", "MatMul", "Conv"):
        return None
    data, weight = read_input(node, 0), read_input(node, 1)
    if weight.const_value is None:
        return None
    node_attributes = attributes(node)
    matrix = weight_matrix(node.op_type, tensor_of(weight).float(), node_attributes)
    if matrix is None:
        return None
    affine = Affine(matrix, None, (data,), describe(node), each_position=node.op_type == "Conv")
    if len(node.inputs) > 2 and node.inputs[2] is not None and node.inputs[2].const_value is not None:
        return affine.shifted(tensor_of(node.inputs[2]) * node_attributes.get("beta", 1.0))
    return affine
