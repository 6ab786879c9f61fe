"""Wide ResNets (Zagoruyko & Komodakis 2016): WRN-D-K has D layers and K times the filters of a ResNet.

A 3x3 convolution with 16 filters is followed by three groups of (D - 4) / 6 blocks with 16 K, 32 K and 64 K
filters. Batch normalisation, ReLU and global average pooling come last. In a block, batch normalisation and
ReLU precede each convolution. They are the teachers and students of ABM and its replication (appendix A).
"""

from __future__ import annotations

import re

import torch.nn.functional as F
from torch import Tensor, nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.zoo.architecture import STUDENTS, Architecture, Shape, family, needs_images
from zskd_onnx.students.zoo.initialisation import kaiming_fan_out

DEEPEST, WIDEST = 100, 16
"""Largest depth and width; no published network is larger, so a larger number is probably a typing error."""


class _PreActivationBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; the first convolution has the stride."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        changes = before != after or stride != 1
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        residual = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        # A projection reads the activated input; a plain shortcut carries the input itself.
        return residual + (x if self.shortcut is None else self.shortcut(activated))


def _wide_resnet(shape: Shape, classes: int, depth: int, width: int) -> nn.Sequential:
    before = 16
    layers: list[nn.Module] = [nn.Conv2d(shape[0], before, 3, 1, 1, bias=False)]
    for group, filters in enumerate((16, 32, 64)):
        for block in range((depth - 4) // 6):
            layers.append(_PreActivationBlock(before, filters * width, 2 if group and not block else 1))
            before = filters * width
    layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    net = nn.Sequential(*layers)
    kaiming_fan_out(net)
    return net


@family("wrn-D-K", "any Wide ResNet of depth D and width K, such as wrn-16-1 or wrn-40-2")
def wide_resnet(name: str) -> Architecture:
    """The architecture of a name such as "wrn-40-2".

    Raises:
        UsageError: D is not 6 N + 4, or D or K is out of bounds.
    """
    match = re.fullmatch(r"wrn-(\d+)-(\d+)", name)
    depth, width = map(int, match.groups()) if match else (0, 0)
    if not 10 <= depth <= DEEPEST or depth % 6 != 4 or not 1 <= width <= WIDEST:
        raise UsageError(
            f"student '{name}': expected wrn-D-K with D = 10, 16, 22, 28, ... up to {DEEPEST} (6 N + 4) and "
            f"K = 1 to {WIDEST}, such as wrn-16-2"
        )
    return Architecture(
        name,
        f"Wide ResNet of {depth} layers, {width} times as wide",
        lambda shape, classes: _wide_resnet(shape, classes, depth, width),
        needs_images(8),
    )


STUDENTS.update({name: wide_resnet(name) for name in ("wrn-16-1", "wrn-16-2", "wrn-40-1", "wrn-40-2")})
