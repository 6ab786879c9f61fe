"""A plain convolutional network for sequences, images and volumes of any size."""

from __future__ import annotations

import math

from torch import nn

from zskd_onnx.students.zoo.architecture import Shape, student

LAYERS: dict[int, tuple[type[nn.Module], type[nn.Module]]] = {
    1: (nn.Conv1d, nn.BatchNorm1d),
    2: (nn.Conv2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.BatchNorm3d),
}
"""Convolution and batch normalisation by the number of spatial axes."""


def _needs_positions(shape: Shape) -> str | None:
    return None if len(shape) - 1 in LAYERS else "it needs sequences, images or volumes"


def _cnn(shape: Shape, classes: int, width: int) -> nn.Sequential:
    """Convolutions of kernel size 3 with batch normalisation; strides of 2 until no side is above 4."""
    channels, *sides = shape
    convolution, normalisation = LAYERS[len(sides)]
    layers: list[nn.Module] = []
    filters = width
    for stage in range(max(1, max(sides).bit_length())):
        stride = 1 if stage == 0 else 2
        layers += [convolution(channels, filters, 3, stride, 1, bias=False), normalisation(filters), nn.ReLU()]
        channels = filters
        if stage:
            sides = [-(-side // 2) for side in sides]
        if max(sides) <= 4:
            break
        filters = min(2 * filters, 8 * width)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * math.prod(sides), classes))


@student(
    "cnn", "plain convolutions of kernel size 3 from 16 filters, for sequences, images and volumes", _needs_positions
)
def cnn(shape: Shape, classes: int) -> nn.Sequential:
    return _cnn(shape, classes, 16)


@student("cnn-small", "cnn that starts from 8 filters", _needs_positions)
def cnn_small(shape: Shape, classes: int) -> nn.Sequential:
    return _cnn(shape, classes, 8)
