"""The final fully connected layer, found by following the logits backwards through the graph."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from torch import Tensor

from zskd_onnx.importer.nodes import attributes, describe, read_input, tensor_of
from zskd_onnx.teacher.signature.affine import Affine, flat_features, weight_matrix
from zskd_onnx.teacher.signature.constant_arithmetic import Arithmetic, read_arithmetic
from zskd_onnx.teacher.signature.quantized_head import QuantParams, quantized_linear, step_back

SAME_VALUES = frozenset({"Identity", "Dropout", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators whose output has the values of their input, perhaps in another shape or type."""


@dataclass(frozen=True)
class Head:
    """The final fully connected layer, logits = W h + b.

    A scale, a bias and a batch normalisation behind the layer are part of W and b.

    Attributes:
        weight: W, shape (K, F), one row per class.
        bias: b, shape (K,), or None.
        node: the ONNX node of the layer, as messages name it.
        rectified: whether a ReLU follows, so that logits = max(0, W h + b).
    """

    weight: Tensor
    bias: Tensor | None
    node: str
    rectified: bool = False

    def to_logits(self, outputs: Tensor) -> Tensor:
        """Return logits (N, K) for the layer's outputs W h + b, (N, K)."""
        return outputs.relu() if self.rectified else outputs


def find_affine(value: ir.Value, *, follow_sum: bool = True) -> Affine | None:
    """Find the linear layer that computes a value, or the two linear layers whose sum it is.

    The search passes reshapes, means over positions, quantisers, arithmetic with constants, and batch
    normalisation.

    Args:
        follow_sum: whether to look behind a sum of two computed values. The search turns it off behind
            the first such sum, because nested sums would take exponential time.

    Returns:
        The value as an affine map, or None if anything else computes it.
    """
    pooled = False
    params: QuantParams | None = None
    steps: list[tuple[Arithmetic, bool]] = []  # with whether a mean follows; the last one of the graph first
    while (node := value.producer()) is not None:
        if (back := step_back(node, params)) is not None:
            value, params, pooled = back.value, back.params, pooled or back.pooled
            steps += [] if back.arithmetic is None else [(back.arithmetic, pooled)]
        elif params is not None or node.domain != "":
            break
        elif node.op_type in SAME_VALUES:
            value = read_input(node, 0)
        elif node.op_type == "GlobalAveragePool" or (node.op_type == "ReduceMean" and _is_over_positions(node)):
            pooled = True  # a mean over positions commutes with a convolution that reads each of them alone
            value = read_input(node, 0)
        elif (operand_and_step := read_arithmetic(node)) is not None:
            value, step = operand_and_step
            steps.append((step, pooled))
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
        if affine is not None and pooled and not affine.positions:
            return None
    for step, before_mean in reversed(steps):
        if affine is None or (before_mean and not step.is_per_channel(affine.positions)):
            return None
        affine = affine.then(step)
    return affine


def _is_over_positions(node: ir.Node) -> bool:
    """Return whether a ReduceMean of (N, C, H, W) reduces H and W."""
    axes = attributes(node).get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None and node.inputs[1].const_value is not None:
        axes = tensor_of(node.inputs[1]).tolist()
    return axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]


def _linear(node: ir.Node) -> Affine | None:
    """Return the affine map of Gemm, MatMul or a convolution with constant weights."""
    if node.domain != "" or node.op_type not in ("Gemm", "MatMul", "Conv"):
        return None
    data, weight = read_input(node, 0), read_input(node, 1)
    if weight.const_value is None:
        return None
    node_attributes, constant = attributes(node), tensor_of(weight).float()
    matrix = weight_matrix(node.op_type, constant, node_attributes)
    if matrix is None:
        return None
    features = flat_features(node, node.op_type, constant, data)
    affine = Affine(matrix, None, (features,), describe(node), positions=constant.ndim - 2)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return affine
    return None if bias.const_value is None else affine.shifted(tensor_of(bias) * node_attributes.get("beta", 1.0))
