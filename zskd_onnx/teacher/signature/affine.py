"""Logits as an affine map of features: what every kind of final layer computes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from zskd_onnx.teacher.signature.constant_arithmetic import Arithmetic
from zskd_onnx.teacher.signature.insert_nodes import insert_before


@dataclass(frozen=True)
class Affine:
    """A value of the graph as the affine map W h + b of its features h.

    Attributes:
        weight: W, shape (K, F).
        bias: b, shape (K,), or None.
        features: the values h of the graph, each (N, F), or (N, F, *positions) before a mean over
            positions. With several, h is their mean.
        node: the ONNX node of the layer, as messages name it.
        positions: number of position axes of the layer's output: 2 for a convolution of images, 0 for a
            fully connected layer. A mean over positions commutes with such a convolution.
    """

    weight: Tensor
    bias: Tensor | None
    features: tuple[ir.Value, ...]
    node: str
    positions: int = 0

    def then(self, step: Arithmetic) -> Affine | None:
        """Return the map with a step behind it, or None unless its constants have 1 or K elements."""
        scaled = self
        if step.factor is not None:
            if step.factor.numel() not in (1, len(self.weight)):
                return None
            factor = step.factor.float().flatten()
            bias = None if self.bias is None else self.bias * factor
            scaled = replace(self, weight=self.weight * factor[:, None], bias=bias)
        return scaled if step.constant is None else scaled.shifted(step.constant)

    def shifted(self, constant: Tensor) -> Affine | None:
        """Return the map plus a constant, or None unless the constant has 1 or K elements."""
        if constant.numel() not in (1, len(self.weight)):
            return None
        bias = torch.zeros(len(self.weight)) if self.bias is None else self.bias
        return replace(self, bias=bias + constant.float().flatten())

    def plus(self, other: Affine) -> Affine | None:
        """Return the sum of two maps, or None if their weights differ in shape.

        DeiT, for example, adds the heads of a class token and a distillation token. The result
        applies W1 + W2 to the mean of both features. That equals the sum only where W1 = W2 or the
        features agree.
        """
        if self.weight.shape != other.weight.shape:
            return None
        total = Affine(
            self.weight + other.weight, self.bias, self.features + other.features, f"{self.node} and {other.node}"
        )
        return total if other.bias is None else total.shifted(other.bias)


def flat_features(node: ir.Node, op_type: str, weight: Tensor, features: ir.Value) -> ir.Value:
    """Return the features of a linear operator: its input, flattened by a new node where it may have more axes.

    A convolution larger than 1x1 and a product of tensors are affine maps only if they read each sample whole;
    ``settle_output`` checks that.

    Args:
        op_type: see ``weight_matrix``.
        weight: the weights as the node stores them.
        features: the node's input in real units.
    """
    if op_type == "Gemm" or (op_type == "Conv" and math.prod(weight.shape[2:]) == 1):
        return features
    if op_type == "MatMul" and features.shape is not None and len(features.shape) == 2:
        return features
    return insert_before(node, ir.node("Flatten", [features], attributes={"axis": 1}, name=node.name))


def weight_matrix(op_type: str, weight: Tensor, attributes: Mapping[str, Any]) -> Tensor | None:
    """Return the weights of a linear operator as a matrix (outputs, inputs).

    Args:
        op_type: "Gemm", "MatMul" or "Conv"; for a quantised operator, the one that it is a variant of.
        weight: the weights as the node stores them.
        attributes: the node's attributes.

    Returns:
        The matrix, or None if the node is not a plain product: a transposed input, a batched product,
        or a convolution with groups, padding or dilation, or a 1x1 convolution with a stride.
    """
    if op_type == "Gemm":
        if attributes.get("transA", 0):
            return None
        rows = weight if attributes.get("transB", 0) else weight.T
        return (rows * attributes.get("alpha", 1.0)).contiguous()
    if op_type == "MatMul":
        return weight.T.contiguous() if weight.ndim == 2 else None
    if attributes.get("group", 1) != 1 or any(attributes.get("pads", ())):
        return None
    if all(n == 1 for n in weight.shape[2:]):
        if any(n != 1 for n in attributes.get("strides", ())):
            return None  # it skips positions, so it does not commute with their mean
    elif attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or any(
        n != 1 for n in attributes.get("dilations", ())
    ):
        return None
    return weight.flatten(1).contiguous()
