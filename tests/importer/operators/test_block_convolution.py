"""Convolution in blocks against torch's own convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from zskd_onnx.importer.operators.block_convolution import block_convolution, block_side, block_weight
from zskd_onnx.importer.operators.convolution import conv


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("p", [2, 4])
@pytest.mark.parametrize(
    ("channels", "size", "kernel", "pads"),
    [
        (1, (32, 32), (5, 5), (0, 0)),
        (3, (13, 18), (3, 5), (1, 2)),
        (2, (8, 10), (7, 2), (0, 0)),
        (1, (4, 4), (1, 1), (0, 3)),
    ],
)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("pool", [True, False])
def test_matches_torch_convolution(
    p: int,
    channels: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    pads: tuple[int, int],
    has_bias: bool,
    pool: bool,
) -> None:
    x = random(2, channels, *size).requires_grad_()
    weight, bias = random(5, channels, *kernel, seed=1), random(5, seed=2) if has_bias else None
    expected = F.conv2d(x, weight, bias, padding=pads)
    if pool:
        expected = F.max_pool2d(expected, 2)
    result = block_convolution(x, block_weight(weight, p, pool=pool), bias, kernel, pads, p, pool=pool)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    direction = random(*expected.shape, seed=3)
    gradients = [torch.autograd.grad((y * direction).sum(), x)[0] for y in (result, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("p", [2, 4])
def test_first_of_equal_values_gets_the_gradient(p: int) -> None:
    """All values of a pooling window are equal, and the upper left position gets the gradient."""
    x = torch.full((2, 1, 12, 12), 0.5).requires_grad_()
    weight = torch.full((3, 1, 5, 5), 0.25)  # sums are exact in any order of addition
    direction = random(2, 3, 4, 4)
    result = block_convolution(x, block_weight(weight, p, pool=True), None, (5, 5), (0, 0), p, pool=True)
    expected = F.max_pool2d(F.conv2d(x, weight), 2)
    gradients = [torch.autograd.grad((y * direction).sum(), x)[0] for y in (result, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("weight", "side"),
    [
        ((6, 1, 5, 5), 4),  # LeNet-5: 2.5 ms instead of 5.2 for 100 images, forward and backward
        ((16, 1, 7, 7), 4),  # 5.4 instead of 9.0
        ((64, 3, 5, 5), 2),  # 24.0 instead of 28.9
        ((16, 6, 5, 5), 1),  # would be 2.6 instead of 2.5
        ((64, 3, 3, 3), 1),  # would be 15.6 instead of 12.5
        ((16, 16, 3, 3), 1),  # would be 11.5 instead of 5.1
        ((10, 512, 1, 1), 1),
    ],
)
def test_block_side_is_the_fastest_measured(weight: tuple[int, ...], side: int) -> None:
    assert block_side(torch.empty(weight)) == side


@pytest.mark.parametrize(
    ("weight", "side"),
    [
        ((6, 1, 5, 5), 4),  # LeNet-5, with Relu and pooling: 5.9 ms instead of 41 for 100 images
        ((16, 6, 5, 5), 2),  # 4.5 instead of 5.3
        ((64, 3, 3, 3), 2),  # 68 instead of 107
        ((32, 3, 5, 5), 2),  # 54 instead of 75
        ((64, 1, 3, 3), 2),  # 32 instead of 96
        ((16, 8, 3, 3), 1),  # would be 3.7 instead of 2.5
        ((32, 16, 3, 3), 1),  # would be 12.5 instead of 6.1
        ((16, 16, 5, 5), 1),  # would be 5.6 instead of 4.3
        ((50, 20, 5, 5), 1),  # would be 24.8 instead of 19.1
    ],
)
def test_block_side_with_pooling_is_the_fastest_measured(weight: tuple[int, ...], side: int) -> None:
    assert block_side(torch.empty(weight), pool=True) == side


@pytest.mark.parametrize("gradient", [True, False])
def test_operator_gives_the_same_with_and_without_gradient(gradient: bool) -> None:
    x, weight, bias = random(3, 1, 28, 28).requires_grad_(gradient), random(6, 1, 5, 5, seed=1), random(6, seed=2)
    expected = F.conv2d(x, weight, bias, padding=2)
    torch.testing.assert_close(conv(x, weight, bias, pads=(2, 2, 2, 2)), expected, rtol=1e-4, atol=1e-4)
