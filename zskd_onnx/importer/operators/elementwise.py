"""Element-wise arithmetic; inputs broadcast as in numpy."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from zskd_onnx.importer.operators.registry import operator
from zskd_onnx.importer.operators.unsigned import widens_unsigned


@operator("Add", (7, 13, 14))
@widens_unsigned
def add(a: Tensor, b: Tensor) -> Tensor:
    """a + b."""
    return a + b


@operator("Sub", (7, 13, 14))
@widens_unsigned
def sub(a: Tensor, b: Tensor) -> Tensor:
    """a - b."""
    return a - b


@operator("Mul", (7, 13, 14))
@widens_unsigned
def mul(a: Tensor, b: Tensor) -> Tensor:
    """a * b."""
    return a * b


@operator("Div", (7, 13, 14))
@widens_unsigned
def div(a: Tensor, b: Tensor) -> Tensor:
    """a / b; integers are divided towards zero."""
    either = a.is_floating_point() or b.is_floating_point()
    return a / b if either else torch.div(a, b, rounding_mode="trunc")


@operator("Mod", (10, 13))
@widens_unsigned
def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """The remainder of a / b, with the sign of b, or with ``fmod`` that of a."""
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


DIVISIONS = frozenset({div, mod})
"""Functions that may divide integers."""


def divides_safely(divisor: Tensor) -> bool:
    """Whether integers can be divided by a divisor without an error.

    On x86, the smallest integer divided by -1 ends the process, as does a division by 0.
    """
    return not ((divisor == 0) | (divisor == -1)).any()


@operator("Pow", (7, 12, 13, 15))
@widens_unsigned
def pow(a: Tensor, b: Tensor) -> Tensor:
    """a to the power of b, in the type of a."""
    return torch.pow(a, b).to(a.dtype)


@operator("Sqrt", (6, 13))
def sqrt(x: Tensor) -> Tensor:
    """The square root."""
    return torch.sqrt(x)


@operator("Exp", (6, 13))
def exp(x: Tensor) -> Tensor:
    """The exponential function."""
    return torch.exp(x)


@operator("Log", (6, 13))
def log(x: Tensor) -> Tensor:
    """The natural logarithm."""
    return torch.log(x)


@operator("Sin", (7, 22))
def sin(x: Tensor) -> Tensor:
    """The sine."""
    return torch.sin(x)


@operator("Cos", (7, 22))
def cos(x: Tensor) -> Tensor:
    """The cosine."""
    return torch.cos(x)


@operator("Erf", (9, 13))
def erf(x: Tensor) -> Tensor:
    """The error function."""
    return torch.erf(x)


@operator("Abs", (6, 13))
def abs(x: Tensor) -> Tensor:
    """The absolute value."""
    return torch.abs(x)


@operator("Neg", (6, 13))
def neg(x: Tensor) -> Tensor:
    """-x."""
    return -x


@operator("Reciprocal", (6, 13))
def reciprocal(x: Tensor) -> Tensor:
    """1 / x."""
    return torch.reciprocal(x)


@operator("Sign", (9, 13))
def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1: the sign of x."""
    return torch.sign(x)


@operator("Floor", (6, 13))
def floor(x: Tensor) -> Tensor:
    """The largest integer that is at most x."""
    return torch.floor(x)


@operator("Ceil", (6, 13))
def ceil(x: Tensor) -> Tensor:
    """The smallest integer that is at least x."""
    return torch.ceil(x)


@operator("Round", (11, 22))
def round(x: Tensor) -> Tensor:
    """The nearest integer; halves go to the even one."""
    return torch.round(x)


@operator("Min", (6, 8, 12, 13))
@widens_unsigned
def minimum(*xs: Tensor) -> Tensor:
    """The smallest of the inputs, element by element."""
    return reduce(torch.minimum, xs)


@operator("Max", (6, 8, 12, 13))
@widens_unsigned
def maximum(*xs: Tensor) -> Tensor:
    """The largest of the inputs, element by element."""
    return reduce(torch.maximum, xs)


@operator("Sum", (6, 8, 13))
def sum(*xs: Tensor) -> Tensor:
    """The sum of the inputs, element by element."""
    return reduce(torch.add, xs)


@operator("Mean", (6, 8, 13))
def mean(*xs: Tensor) -> Tensor:
    """The mean of the inputs, element by element."""
    return reduce(torch.add, xs) / len(xs)
