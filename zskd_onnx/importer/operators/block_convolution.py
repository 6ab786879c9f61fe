"""Convolution of few channels as one of many: CPUs compute 16 channels at a time, and waste those that are not there.

Blocks of p x p positions become channels, so that an image of one channel has p^2, and the kernel
becomes one for blocks, with zeros where a block reaches beyond the kernel. For 1 -> 6 channels of
5x5 at p = 4 forward and gradient take less than half of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LANES = 16
"""float32 values in a vector register of 512 bits, to which oneDNN fills channels up."""
SIDES = (1, 2, 4)
MOVE = 100
"""What it takes to bring a value of the output out of its block, there and back, in multiply-adds (measured)."""
POOL, POOL_IN_BLOCKS = 300, 190
"""What it takes to rectify and pool a value of the output, there and back, from the whole and in blocks (measured)."""
GAIN = 1.2
"""How much cheaper blocks must be to be worth it."""


def block_side(weight: Tensor, *, pool: bool = False) -> int:
    """The p that makes forward and gradient cheapest, 1 where blocks do not pay.

    Args:
        weight: (M, C, height, width), of a convolution with strides of 1.
        pool: whether 2 x 2 positions are pooled behind it.
    """
    costs = {p: _cost(weight.shape, p, pool) for p in SIDES}
    best = min(costs, key=costs.__getitem__)
    return best if costs[best] * GAIN < costs[1] else 1


def _cost(shape: Sequence[int], p: int, pool: bool) -> float:
    """Multiply-adds for a position of the output, channels filled up to whole registers."""
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
    return -(-channels // LANES) * LANES


def _blocks(kernel: int, p: int) -> int:
    """Blocks that p neighbouring windows reach into, together."""
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
    """x (N, C, H, W), ``blocks`` as ``block_weight`` makes them -> (N, M, *out), strides of 1, channels last.

    Args:
        kernel: the kernel's size on each axis.
        pads: zeros before and after each axis.
        p: side of a block.
        pool: whether to give the largest of each 2 x 2 positions. A block holds whole windows, so that three of four
            values need not be brought out of it.
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
    """(M, C, height, width) -> (p p M, p p C, *blocks): the kernel at each of p x p places.

    Args:
        pool: whether the upper left places of all 2 x 2 windows come first, then the upper right ones, and so on.
    """
    height, width = weight.shape[2:]
    below, right = (_blocks(k, p) * p - k for k in (height, width))
    places = [(i, j) for i in range(p) for j in range(p)]
    if pool:
        places.sort(key=lambda place: (place[0] % 2, place[1] % 2))
    placed = [F.pad(weight, (j, right - j, i, below - i)) for i, j in places]
    return _to_blocks(torch.cat(placed), p).contiguous(memory_format=torch.channels_last)


def _to_blocks(x: Tensor, p: int) -> Tensor:
    """(N, C, p h, p w) -> (N, p p C, h, w), channels last."""
    n, c, height, width = x.shape
    cut = x.permute(0, 2, 3, 1).reshape(n, height // p, p, width // p, p, c)
    return cut.transpose(2, 3).reshape(n, height // p, width // p, p * p * c).permute(0, 3, 1, 2)


def _from_blocks(y: Tensor, p: int) -> Tensor:
    """(N, p p M, h, w) -> (N, M, p h, p w), channels last."""
    n, channels, height, width = y.shape
    cut = y.permute(0, 2, 3, 1).reshape(n, height, width, p, p, channels // (p * p))
    return cut.transpose(2, 3).reshape(n, height * p, width * p, channels // (p * p)).permute(0, 3, 1, 2)


def _largest_of_four(y: Tensor) -> Tensor:
    """(N, 4 C, h, w) -> (N, C, h, w), of four groups of channels; of equals the first has the gradient, as in pooling."""
    n, channels, height, width = y.shape
    groups = y.permute(0, 2, 3, 1).reshape(n, height * width * 4, 1, channels // 4).permute(0, 3, 1, 2)
    largest = F.max_pool2d(groups, (4, 1))
    return largest.permute(0, 2, 3, 1).reshape(n, height, width, channels // 4).permute(0, 3, 1, 2)
