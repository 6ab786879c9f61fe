"""Logits as an affine map of features: what every kind of final layer computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor


@dataclass(frozen=True)
class Affine:
    """A value of the graph as the affine map W h + b of its features h.

    Attributes:
        weight: W, shape (K, F).
        bias: b, shape (K,), or None.
        features: the values h of the graph, each (N, F), or (N, F, *positions) before a mean over
            positions. With several, h is their mean.
        node: the ONNX node of the layer, as messages name it.
        each_position: whether the layer applies the same map at every position. Such a layer commutes
            with a mean over positions.
    """

    weight: Tensor
    bias: Tensor | None
    features: tuple[ir.Value, ...]
    node: str
    each_position: bool = False

    def scaled(self, factor: float) -> Affine:
        """Return the map multiplied by a number."""
        return replace(self, weight=self.weight * factor, bias=None if self.bias is None else self.bias * factor)

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


def weight_matrix(op_type: str, weight: Tensor, attributes: Mapping[str, Any]) -> Tensor | None:
    """Return the weights of a linear operator as a matrix (outputs, inputs).

    Args:
        op_type: "Gemm", "MatMul" or "Conv"; for a quantised operator, the one that it is a variant of.
        weight: the weights as the node stores them.
        attributes: the node's attributes.

    Returns:
        The matrix, or None if the node is not a plain product: a transposed input, a batched product,
        or a convolution other than 1x1, with groups, a stride or padding.
    """
    if op_type == "Gemm":
        if attributes.get("transA", 0):
            return None
        rows = weight if attributes.get("transB", 0) else weight.T
        return (rows * attributes.get("alpha", 1.0)).contiguous()
    if op_type == "MatMul":
        return weight.T.contiguous() if weight.ndim == 2 else None
    if attributes.get("group", 1) != 1 or any(n != 1 for n in weight.shape[2:]):
        return None
    if any(n != 1 for n in attributes.get("strides", ())) or any(attributes.get("pads", ())):
        return None  # it skips or repeats positions, so it does not commute with their mean
    return weight.flatten(1).contiguous()
