"""Fully connected networks, for vectors."""

from __future__ import annotations

import math

from torch import nn

from zskd_onnx.students.zoo.architecture import Shape, student


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
