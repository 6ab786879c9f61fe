"""ResNets: published sizes, and the changes for small images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zskd_onnx.students.describe import parameters
from zskd_onnx.students.zoo.architecture import STUDENTS

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}


def count(blocks: tuple[int, ...], channels: int, classes: int) -> int:
    """Number of parameters: 9 a b for a 3x3 convolution, a b for a projection, 2 b for a normalisation."""
    total, before = 9 * channels * 64 + 2 * 64, 64
    for width, n in zip((64, 128, 256, 512), blocks, strict=True):
        total += 9 * before * width + (2 * n - 1) * 9 * width**2 + 2 * n * 2 * width
        total += before * width + 2 * width if before != width else 0
        before = width
    return total + 512 * classes + classes


@pytest.mark.parametrize(("name", "known"), [("resnet18", 11_173_962), ("resnet34", 21_282_122)])
def test_number_of_parameters(name: str, known: int) -> None:
    """The known numbers are those for CIFAR-10."""
    assert parameters(STUDENTS[name].build((3, 32, 32), 10)) == known == count(BLOCKS[name], 3, 10)
    assert parameters(STUDENTS[name].build((1, 28, 28), 7)) == count(BLOCKS[name], 1, 7)


def test_the_last_map_of_a_small_image_is_4x4() -> None:
    """Wang 2021: average pooling over 4x4; the stem does not change the size of 32x32."""
    net = STUDENTS["resnet18"].build((3, 32, 32), 10).eval()
    sides = []
    for layer in net.children():
        layer.register_forward_hook(lambda _, __, value: sides.append(value.shape[-1]) if value.ndim == 4 else None)
    net(torch.zeros(1, 3, 32, 32))
    assert sides[:3] == [32, 32, 32]
    assert sides[-2:] == [4, 1]


def test_a_shortcut_carries_the_input() -> None:
    """If the residual branch is zero, a block with equal shapes is ReLU(x)."""
    block = STUDENTS["resnet18"].build((3, 16, 16), 10).eval()[3]
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.zeros_(layer.weight)
    x = torch.randn(2, 64, 16, 16)
    assert torch.equal(block(x), x.relu())
