"""Convolution of few channels by space-to-depth: blocks of positions become channels.

CPU kernels compute 16 channels at a time, and compute channels that do not exist for a layer with
fewer. Here each block of p x p positions becomes p^2 channels (space-to-depth), and the kernel
becomes one for blocks, with zeros where a block is larger than the kernel. For 1 -> 6 channels,
a 5 x 5 kernel and p = 4, the forward and backward passes together take less than half of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LANES = 16
"""float32 values in a vector register of 512 bits; oneDNN rounds the number of channels up to it."""

SIDES = (1, 2, 4)
"""Block sides to choose from."""

MOVE = 100
"""Measured cost, in multiply-adds, of moving an output value out of its block, forward and backward."""

POOL, POOL_IN_BLOCKS = 300, 190
"""Measured cost of ReLU and pooling for an output value, forward and backward: without blocks, and in blocks."""

GAIN = 1.2
"""Factor by which blocks must be cheaper to be used."""


def block_side(weight: Tensor, *, pool: bool = False) -> int:
    """The block side p for which forward and backward passes are fastest; 1 if blocks do not pay.

    Args:
        weight: (M, C, height, width), of a convolution with strides of 1.
        pool: whether a max pooling of 2 x 2 follows.
    """
    costs = {p: _cost(weight.shape, p, pool) for p in SIDES}
    best = min(costs, key=costs.__getitem__)
    return best if costs[best] * GAIN < costs[1] else 1


def _cost(shape: Sequence[int], p: int, pool: bool) -> float:
    """The cost of one output position in multiply-adds, with channels rounded up to whole registers."""
    after, before, *kernel = shape
    taps = 1
    for k in kernel:
        taps *= _blocks(k, p)
    forward = before * p * p * _filled(after * p * p)
    backward = _filled(before * p * p) * after * p * p
    whole, in_blocks = (POOL, POOL_IN_BLOCKS) if pool else (0, MOVE)
    behind = whole if p == 1 else in_blocks
    return taps * (forward + backward) / (p * p) + behind * after


def _filled(channels: int) -> int:
    """A number of channels rounded up to whole registers."""
    return -(-channels // LANES) * LANES


def _blocks(kernel: int, p: int) -> int:
    """The number of blocks that p neighbouring windows of the kernel reach into together."""
    return -(-(kernel + p - 1) // p)


def block_convolution(
    x: Tensor,
    blocks: Tensor,
    bias: Tensor | None,
    kernel: Sequence[int],
    pads: Sequence[int],
    p: int,
    *,
    pool: bool = False,
) -> Tensor:
    """A convolution with strides of 1, computed in blocks of p x p positions.

    Args:
        x: (N, C, H, W).
        blocks: the weight as ``block_weight`` makes it.
        bias: (M,), or None.
        kernel: height and width of the kernel.
        pads: zeros on both sides of each spatial axis.
        p: side of a block.
        pool: whether to return the maximum of each 2 x 2 positions. A block contains whole pooling
            windows, so only a quarter of the values is moved out of it.

    Returns:
        (N, M, *out) in channels-last memory order.
    """
    out = [n + 2 * pad - k + 1 for n, pad, k in zip(x.shape[2:], pads, kernel, strict=True)]
    whole = [p * (-(-n // p) + _blocks(k, p) - 1) for n, k in zip(out, kernel, strict=True)]
    after = [w - n - pad for w, n, pad in zip(whole, x.shape[2:], pads, strict=True)]
    if any(pads) or any(after):
        x = F.pad(x, (pads[1], after[1], pads[0], after[0]))
    y = F.conv2d(_to_blocks(x, p), blocks, None if bias is None else bias.repeat(p * p))
    if pool:
        return _from_blocks(_largest_of_four(y), p // 2)[..., : out[0] // 2, : out[1] // 2]
    return _from_blocks(y, p)[..., : out[0], : out[1]]


def block_weight(weight: Tensor, p: int, *, pool: bool = False) -> Tensor:
    """The weight of ``block_convolution``: the kernel at each of the p x p positions of a block.

    Args:
        weight: (M, C, height, width).
        p: side of a block.
        pool: whether the positions are ordered for pooling: the upper left ones of all 2 x 2 windows
            first, then the upper right ones, and so on.

    Returns:
        (p p M, p p C, *blocks) in channels-last memory order.
    """
    height, width = weight.shape[2:]
    below, right = (_blocks(k, p) * p - k for k in (height, width))
    positions = [(i, j) for i in range(p) for j in range(p)]
    if pool:
        positions.sort(key=lambda position: (position[0] % 2, position[1] % 2))
    shifted = [F.pad(weight, (j, right - j, i, below - i)) for i, j in positions]
    return _to_blocks(torch.cat(shifted), p).contiguous(memory_format=torch.channels_last)


def _to_blocks(x: Tensor, p: int) -> Tensor:
    """(N, C, p h, p w) -> (N, p p C, h, w), in channels-last memory order."""
    n, c, height, width = x.shape
    cut = x.permute(0, 2, 3, 1).reshape(n, height // p, p, width // p, p, c)
    return cut.transpose(2, 3).reshape(n, height // p, width // p, p * p * c).permute(0, 3, 1, 2)


def _from_blocks(y: Tensor, p: int) -> Tensor:
    """(N, p p M, h, w) -> (N, M, p h, p w), in channels-last memory order."""
    n, channels, height, width = y.shape
    cut = y.permute(0, 2, 3, 1).reshape(n, height, width, p, p, channels // (p * p))
    return cut.transpose(2, 3).reshape(n, height * p, width * p, channels // (p * p)).permute(0, 3, 1, 2)


def _largest_of_four(y: Tensor) -> Tensor:
    """(N, 4 C, h, w) -> (N, C, h, w): the maximum over four groups of channels.

    Of equal values the first gets the gradient, as in max pooling.
    """
    n, channels, height, width = y.shape
    groups = y.permute(0, 2, 3, 1).reshape(n, height * width * 4, 1, channels // 4).permute(0, 3, 1, 2)
    largest = F.max_pool2d(groups, (4, 1))
    return largest.permute(0, 2, 3, 1).reshape(n, height, width, channels // 4).permute(0, 3, 1, 2)
