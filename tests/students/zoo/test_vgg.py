"""The small VGG."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zskd_onnx.students.describe import parameters
from zskd_onnx.students.zoo.architecture import STUDENTS


def test_layers_at_32x32() -> None:
    net = STUDENTS["vgg-small"].build((3, 32, 32), 10)
    assert [m.out_channels for m in net if isinstance(m, nn.Conv2d)] == [32, 32, 64, 64, 128, 128]
    assert [(m.in_features, m.out_features) for m in net if isinstance(m, nn.Linear)] == [(128 * 16, 256), (256, 10)]
    half = STUDENTS["vgg-small-half"].build((3, 32, 32), 10)
    assert [m.out_channels for m in half if isinstance(m, nn.Conv2d)] == [16, 16, 32, 32, 64, 64]
    assert parameters(half) < parameters(net) / 3.5


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 70)])
def test_pooling_continues_until_the_sides_are_small(shape: tuple[int, ...]) -> None:
    net = STUDENTS["vgg-small"].build(shape, 4).eval()
    assert net(torch.zeros(2, *shape)).shape == (2, 4)
    assert next(m for m in net if isinstance(m, nn.Linear)).in_features <= 128 * 16
