"""Fully connected networks, for vectors."""

from __future__ import annotations

import math
import re

from torch import nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.zoo.architecture import Architecture, Shape, family, student

DEEPEST, WIDEST = 4, 4096
"""Largest number of hidden layers, and of units of each."""


def _any_shape(shape: Shape) -> None:
    return None


def _mlp(shape: Shape, classes: int, hidden: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    size = math.prod(shape)
    for units in hidden:
        layers += [nn.Linear(size, units), nn.ReLU()]
        size = units
    return nn.Sequential(*layers, nn.Linear(size, classes))


@student("mlp", "two hidden layers of 64 and 32 units, for vectors", _any_shape)
def mlp(shape: Shape, classes: int) -> nn.Sequential:
    return _mlp(shape, classes, (64, 32))


@student("mlp-small", "one hidden layer of 32 units", _any_shape)
def mlp_small(shape: Shape, classes: int) -> nn.Sequential:
    return _mlp(shape, classes, (32,))


@family("mlp-W", "one hidden layer of W units, such as mlp-16; one number for each layer, such as mlp-128-64")
def mlp_of_widths(name: str) -> Architecture:
    """The architecture of a name such as "mlp-16" or "mlp-128-64".

    Raises:
        UsageError: a width is no number or out of bounds, or there are too many.
    """
    hidden = (
        tuple(map(int, re.findall(r"\d+", name))) if re.fullmatch(rf"mlp(-\d{{1,4}}){{1,{DEEPEST}}}", name) else (0,)
    )
    if not 1 <= min(hidden) <= max(hidden) <= WIDEST:
        raise UsageError(
            f"student '{name}': expected mlp, mlp-small or mlp-W with W = 1 to {WIDEST} units in the hidden layer, such "
            f"as mlp-16, or up to {DEEPEST} such numbers, such as mlp-128-64"
        )
    layers = "one hidden layer" if len(hidden) == 1 else f"{len(hidden)} hidden layers"
    return Architecture(
        name,
        f"{layers} of {' and '.join(map(str, hidden))} units",
        lambda shape, classes: _mlp(shape, classes, hidden),
        _any_shape,
    )
