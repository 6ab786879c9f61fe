"""LeNet-5 and its half-size version (ZSKD supplement, table 1)."""

from __future__ import annotations

from torch import nn

from zskd_onnx.students.zoo.architecture import Shape, needs_images, student


def _lenet(shape: Shape, classes: int, first: int, second: int) -> nn.Sequential:
    channels, height, width = shape
    out_height, out_width = ((n - 4) // 2 - 4 >> 1 for n in (height, width))
    layers = nn.Sequential(
        nn.Conv2d(channels, first, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * out_height * out_width, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )
    for layer in layers:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            # The supplement's "truncated normal" is TensorFlow's, which truncates at two standard deviations.
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return layers


@student("lenet5", "LeNet-5: 6 and 16 filters of 5x5, three fully connected layers", needs_images(16))
def lenet5(shape: Shape, classes: int) -> nn.Sequential:
    """The teacher of the ZSKD supplement's table 1, for images of at least 16x16 pixels."""
    return _lenet(shape, classes, 6, 16)


@student("lenet5-half", "LeNet-5 with half the filters: 3 and 8", needs_images(16))
def lenet5_half(shape: Shape, classes: int) -> nn.Sequential:
    """The student of the ZSKD supplement's table 1."""
    return _lenet(shape, classes, 3, 8)
