"""A plain convolutional net for images of any size."""

from __future__ import annotations

from torch import nn

from zskd_onnx.students.registry import Shape, needs_images, student


def _cnn(shape: Shape, classes: int, width: int) -> nn.Sequential:
    """3x3 convolutions with batch normalisation, halving the side until it is 4 or less."""
    channels, height, width_px = shape
    layers: list[nn.Module] = []
    filters = width
    for stage in range(max(1, max(height, width_px).bit_length())):
        stride = 1 if stage == 0 else 2
        layers += [nn.Conv2d(channels, filters, 3, stride, 1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
        channels = filters
        if stage:
            height, width_px = -(-height // 2), -(-width_px // 2)
        if max(height, width_px) <= 4:
            break
        filters = min(2 * filters, 8 * width)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width_px, classes))


@student("cnn", "plain 3x3 convolutions from 16 filters, for images of any size", needs_images(1))
def cnn(shape: Shape, classes: int) -> nn.Sequential:
    return _cnn(shape, classes, 16)


@student("cnn-small", "the same from 8 filters", needs_images(1))
def cnn_small(shape: Shape, classes: int) -> nn.Sequential:
    return _cnn(shape, classes, 8)
