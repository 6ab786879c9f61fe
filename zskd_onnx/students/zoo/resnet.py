"""ResNet-18 and ResNet-34 for small images (He et al. 2015, table 1, as Wang 2021 changes them).

The first convolution is 3x3 with stride 1, and no pooling follows it. The last map (4x4 for images of
32x32) is averaged. Shortcuts are projections where the shape changes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from zskd_onnx.students.zoo.architecture import Shape, needs_images, student
from zskd_onnx.students.zoo.initialisation import kaiming_fan_out

WIDTHS = (64, 128, 256, 512)


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; the first convolution has the stride."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()),
            *(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut.extend([nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def _resnet(shape: Shape, classes: int, blocks: tuple[int, ...]) -> nn.Sequential:
    before = WIDTHS[0]
    layers: list[nn.Module] = [nn.Conv2d(shape[0], before, 3, 1, 1, bias=False), nn.BatchNorm2d(before), nn.ReLU()]
    for stage, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True)):
        for block in range(count):
            layers.append(_BasicBlock(before, width, 2 if stage and not block else 1))
            before = width
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
    kaiming_fan_out(net)
    return net


@student("resnet18", "ResNet-18 for small images: 3x3 stem without pooling", needs_images(16))
def resnet18(shape: Shape, classes: int) -> nn.Sequential:
    """The student of Wang's table 3."""
    return _resnet(shape, classes, (2, 2, 2, 2))


@student("resnet34", "ResNet-34 for small images: 3x3 stem without pooling", needs_images(16))
def resnet34(shape: Shape, classes: int) -> nn.Sequential:
    """The teacher of Wang's table 3."""
    return _resnet(shape, classes, (3, 4, 6, 3))
