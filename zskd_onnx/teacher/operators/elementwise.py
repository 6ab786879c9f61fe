"""Element-wise arithmetic, comparison and selection, with numpy's broadcasting."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from zskd_onnx.teacher.operators.registry import operator


@operator("Add", (7, 13, 14))
def add(a: Tensor, b: Tensor) -> Tensor:
    return a + b


@operator("Sub", (7, 13, 14))
def sub(a: Tensor, b: Tensor) -> Tensor:
    return a - b


@operator("Mul", (7, 13, 14))
def mul(a: Tensor, b: Tensor) -> Tensor:
    return a * b


@operator("Div", (7, 13, 14))
def div(a: Tensor, b: Tensor) -> Tensor:
    """Integers divide towards zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@operator("Pow", (7, 12, 13, 15))
def pow(a: Tensor, b: Tensor) -> Tensor:
    """The result has the base's type."""
    return torch.pow(a, b).to(a.dtype)


@operator("Sqrt", (6, 13))
def sqrt(x: Tensor) -> Tensor:
    return torch.sqrt(x)


@operator("Exp", (6, 13))
def exp(x: Tensor) -> Tensor:
    return torch.exp(x)


@operator("Log", (6, 13))
def log(x: Tensor) -> Tensor:
    return torch.log(x)


@operator("Erf", (9, 13))
def erf(x: Tensor) -> Tensor:
    return torch.erf(x)


@operator("Abs", (6, 13))
def abs(x: Tensor) -> Tensor:
    return torch.abs(x)


@operator("Neg", (6, 13))
def neg(x: Tensor) -> Tensor:
    return -x


@operator("Reciprocal", (6, 13))
def reciprocal(x: Tensor) -> Tensor:
    return torch.reciprocal(x)


@operator("Floor", (6, 13))
def floor(x: Tensor) -> Tensor:
    return torch.floor(x)


@operator("Ceil", (6, 13))
def ceil(x: Tensor) -> Tensor:
    return torch.ceil(x)


@operator("Min", (8, 12, 13))
def minimum(*xs: Tensor) -> Tensor:
    return reduce(torch.minimum, xs)


@operator("Max", (8, 12, 13))
def maximum(*xs: Tensor) -> Tensor:
    return reduce(torch.maximum, xs)


@operator("Sum", (8, 13))
def sum(*xs: Tensor) -> Tensor:
    return reduce(torch.add, xs)


@operator("Mean", (8, 13))
def mean(*xs: Tensor) -> Tensor:
    return reduce(torch.add, xs) / len(xs)


@operator("Equal", (7, 11, 13, 19))
def equal(a: Tensor, b: Tensor) -> Tensor:
    return torch.eq(a, b)


@operator("Where", (9, 16))
def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)
