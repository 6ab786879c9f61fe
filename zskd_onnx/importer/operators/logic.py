"""Comparison, logic and selection; inputs broadcast as in numpy."""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.importer.operators.registry import operator
from zskd_onnx.importer.operators.unsigned import widens_unsigned


@operator("Equal", (7, 11, 13, 19))
@widens_unsigned
def equal(a: Tensor, b: Tensor) -> Tensor:
    """a == b."""
    return torch.eq(a, b)


@operator("Less", (7, 9, 13))
@widens_unsigned
def less(a: Tensor, b: Tensor) -> Tensor:
    """a < b."""
    return torch.lt(a, b)


@operator("LessOrEqual", (12, 16))
@widens_unsigned
def less_or_equal(a: Tensor, b: Tensor) -> Tensor:
    """a <= b."""
    return torch.le(a, b)


@operator("Greater", (7, 9, 13))
@widens_unsigned
def greater(a: Tensor, b: Tensor) -> Tensor:
    """a > b."""
    return torch.gt(a, b)


@operator("GreaterOrEqual", (12, 16))
@widens_unsigned
def greater_or_equal(a: Tensor, b: Tensor) -> Tensor:
    """a >= b."""
    return torch.ge(a, b)


@operator("And", (7,))
def logical_and(a: Tensor, b: Tensor) -> Tensor:
    """a and b."""
    return torch.logical_and(a, b)


@operator("Or", (7,))
def logical_or(a: Tensor, b: Tensor) -> Tensor:
    """a or b."""
    return torch.logical_or(a, b)


@operator("Xor", (7,))
def logical_xor(a: Tensor, b: Tensor) -> Tensor:
    """a or b, but not both."""
    return torch.logical_xor(a, b)


@operator("Not", (1,))
def logical_not(x: Tensor) -> Tensor:
    """not x."""
    return torch.logical_not(x)


@operator("IsNaN", (9, 13, 20))
def is_nan(x: Tensor) -> Tensor:
    """Whether x is NaN."""
    return torch.isnan(x)


@operator("IsInf", (10, 20))
def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Whether x is infinite; the attributes select the signs."""
    infinite = torch.isinf(x)
    if not detect_negative:
        infinite = infinite & (x > 0)
    return infinite if detect_positive else infinite & (x < 0)


@operator("Where", (9, 16))
@widens_unsigned
def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where the condition is true, b elsewhere."""
    return torch.where(condition, a, b)
