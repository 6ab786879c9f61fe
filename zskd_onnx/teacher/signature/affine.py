"""Logits as an affine map of features, which is what every form of final layer comes down to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor


@dataclass(frozen=True)
class Affine:
    """A value as an affine map of features: W h + b, h the mean of ``features`` where there are several.

    Attributes:
        node: what it was found at, as messages name it.
        each_position: whether the layer does the same at every position, and so commutes with
            a mean over them.
    """

    weight: Tensor
    bias: Tensor | None
    features: tuple[ir.Value, ...]
    node: str
    each_position: bool = False

    def scaled(self, factor: float) -> Affine:
        return replace(self, weight=self.weight * factor, bias=None if self.bias is None else self.bias * factor)

    def shifted(self, constant: Tensor) -> Affine | None:
        """With a constant added, or None if it does not hold one number for each class or for all."""
        if constant.numel() not in (1, len(self.weight)):
            return None
        own = torch.zeros(len(self.weight)) if self.bias is None else self.bias
        return replace(self, bias=own + constant.float().flatten())

    def plus(self, other: Affine) -> Affine | None:
        """The sum of two heads, such as those of a class and a distillation token."""
        if self.weight.shape != other.weight.shape:
            return None
        total = Affine(
            self.weight + other.weight, self.bias, self.features + other.features, f"{self.node} and {other.node}"
        )
        return total if other.bias is None else total.shifted(other.bias)


def rows_of(op_type: str, weight: Tensor, settings: Mapping[str, Any]) -> Tensor | None:
    """The weights of Gemm, MatMul or a 1x1 convolution, one row for each output; None of others.

    Args:
        op_type: "Gemm", "MatMul" or "Conv", which quantised operators are variants of.
        settings: the node's attributes.
    """
    if op_type == "Gemm":
        if settings.get("transA", 0):
            return None
        rows = weight if settings.get("transB", 0) else weight.T
        return (rows * settings.get("alpha", 1.0)).contiguous()
    if op_type == "MatMul":
        return weight.T.contiguous() if weight.ndim == 2 else None
    if settings.get("group", 1) != 1 or any(n != 1 for n in weight.shape[2:]):
        return None
    if any(n != 1 for n in settings.get("strides", ())) or any(settings.get("pads", ())):
        return None  # it does not see every position once
    return weight.flatten(1).contiguous()
