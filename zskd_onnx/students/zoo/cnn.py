"""A plain convolutional network for sequences, images and volumes of any size."""

from __future__ import annotations

import math
import re

from torch import nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.zoo.architecture import Architecture, Shape, family, student

WIDEST = 256
"""Largest number of filters of the first layer."""

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


@family("cnn-W", "cnn that starts from W filters, such as cnn-4")
def cnn_of_width(name: str) -> Architecture:
    """The architecture of a name such as "cnn-4".

    Raises:
        UsageError: W is no number, or out of bounds.
    """
    match = re.fullmatch(r"cnn-(\d{1,4})", name)
    width = int(match[1]) if match else 0
    if not 1 <= width <= WIDEST:
        raise UsageError(
            f"student '{name}': expected cnn, cnn-small or cnn-W with W = 1 to {WIDEST} filters in the first layer, "
            "such as cnn-4"
        )
    return Architecture(
        name,
        f"cnn that starts from {width} filters",
        lambda shape, classes: _cnn(shape, classes, width),
        _needs_positions,
    )
