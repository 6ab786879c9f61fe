"""A small VGG (Simonyan & Zisserman 2015): pairs of 3x3 convolutions, each pair followed by pooling."""

from __future__ import annotations

import math

from torch import nn

from zskd_onnx.students.zoo.architecture import Shape, needs_images, student
from zskd_onnx.students.zoo.initialisation import kaiming_fan_out


def _vgg(shape: Shape, classes: int, width: int) -> nn.Sequential:
    """At least three stages, until no side is above 4. Batch normalisation is not in the paper."""
    channels, *sides = shape
    layers: list[nn.Module] = []
    stage = 0
    while stage < 3 or max(sides) > 4:
        filters = width * 2 ** min(stage, 2)
        for _ in range(2):
            layers += [nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
            channels = filters
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
        sides = [-(-side // 2) for side in sides]
        stage += 1
    units = 8 * width
    layers += [nn.Flatten(), nn.Linear(channels * math.prod(sides), units), nn.ReLU(), nn.Linear(units, classes)]
    net = nn.Sequential(*layers)
    kaiming_fan_out(net)
    return net


@student("vgg-small", "VGG with batch normalisation, from 32 filters, and a hidden layer of 256 units", needs_images(8))
def vgg_small(shape: Shape, classes: int) -> nn.Sequential:
    return _vgg(shape, classes, 32)


@student("vgg-small-half", "vgg-small with half the filters and units", needs_images(8))
def vgg_small_half(shape: Shape, classes: int) -> nn.Sequential:
    return _vgg(shape, classes, 16)
