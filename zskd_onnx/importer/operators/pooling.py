"""Pooling over windows; ``global_pooling`` has the operators over all positions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.importer.operators.padding import Ints, for_rank, pad_spatial, resolve_pads
from zskd_onnx.importer.operators.registry import operator

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONVOLUTION = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _window(
    x: Tensor, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints | None, auto_pad: str, ceil_mode: int
) -> tuple[list[int], list[int], list[int]]:
    """The padding before and after each axis, and how far the last window reaches beyond it.

    Only ``ceil_mode`` has such a window. A window may start in the input or in the padding before it,
    but not in the padding after it.
    """
    size = list(x.shape[2:])
    begin, end = resolve_pads(size, kernel, strides, dilations, pads, auto_pad)
    overhang = [0] * len(size)
    if ceil_mode and auto_pad == "NOTSET":
        for i, (n, k, s, d) in enumerate(zip(size, kernel, strides, dilations, strict=True)):
            span = n + begin[i] + end[i] - (k - 1) * d - 1
            steps = -(-span // s)
            if steps * s >= n + begin[i]:
                steps -= 1
            overhang[i] = max(steps * s - span, 0)
    return begin, end, overhang


@operator("MaxPool", (8, 10, 11, 12, 22), counts_outputs=True)
def max_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    num_outputs: int,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    storage_order: int = 0,
    strides: Ints | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """x (N, C, *size) -> (N, C, *out): the maximum of each window, and its positions.

    Padding is never the maximum. Positions are indices into the flattened x. ``storage_order`` 0
    flattens the spatial axes with the last one fastest, 1 with the first one fastest.
    """
    if not x.is_floating_point():
        pooled = max_pool(
            x.float(),
            kernel_shape=kernel_shape,
            num_outputs=num_outputs,
            auto_pad=auto_pad,
            ceil_mode=ceil_mode,
            dilations=dilations,
            pads=pads,
            storage_order=storage_order,
            strides=strides,
        )
        return pooled.to(x.dtype) if isinstance(pooled, Tensor) else (pooled[0].to(x.dtype), pooled[1])
    rank = len(kernel_shape)
    strides = strides or (1,) * rank
    dilations = dilations or (1,) * rank
    pool = for_rank(_MAX, rank)
    begin, end, overhang = _window(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    end = [e + o for e, o in zip(end, overhang, strict=True)]
    within_half = all(2 * b <= k for b, k in zip(begin, kernel_shape, strict=True))
    if num_outputs == 1 and begin == end and within_half:
        return pool(x, kernel_shape, strides, begin, dilations)
    padded = pad_spatial(x, begin, end, -math.inf) if any(begin + end) else x
    if num_outputs == 1:
        return pool(padded, kernel_shape, strides, 0, dilations)
    values, positions = pool(padded, kernel_shape, strides, 0, dilations, return_indices=True)
    return values, _positions_in(x, positions, padded.shape[2:], begin, storage_order)


def _positions_in(x: Tensor, positions: Tensor, padded: torch.Size, begin: list[int], storage_order: int) -> Tensor:
    """Convert positions in a padded plane to positions in the flattened x."""
    size = list(x.shape[2:])
    coordinates: list[Tensor] = []
    for n, b in zip(reversed(padded), reversed(begin), strict=True):
        coordinates.insert(0, positions % n - b)
        positions = positions // n
    axes = list(range(len(size)))
    flat = torch.zeros_like(positions)
    for axis in reversed(axes) if storage_order else axes:
        flat = flat * size[axis] + coordinates[axis]
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device) * math.prod(size)
    return flat + planes.reshape(x.shape[0], x.shape[1], *(1,) * len(size))


@operator("MaxPool", (1,), counts_outputs=True)
def max_pool_1(
    x: Tensor,
    *,
    kernel_shape: Ints,
    num_outputs: int,
    auto_pad: str = "NOTSET",
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """``max_pool`` with the attributes of version 1."""
    return max_pool(
        x, kernel_shape=kernel_shape, num_outputs=num_outputs, auto_pad=auto_pad, pads=pads, strides=strides
    )


def _window_sum(x: Tensor, kernel: Ints, strides: Ints, dilations: Ints) -> Tensor:
    """The sum of each window that lies inside x."""
    rank = len(kernel)
    if all(d == 1 for d in dilations):
        return for_rank(_AVERAGE, rank)(x, kernel, strides) * math.prod(kernel)
    planes = x.flatten(0, 1).unsqueeze(1)
    sums = for_rank(_CONVOLUTION, rank)(planes, x.new_ones((1, 1, *kernel)), None, strides, 0, dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


@operator("AveragePool", (7, 10, 11, 19, 22))
def average_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """x (N, C, *size) -> (N, C, *out): the mean of each window, with or without its padding."""
    rank = len(kernel_shape)
    strides = strides or (1,) * rank
    dilations = dilations or (1,) * rank
    begin, end, overhang = _window(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    if not any(begin + end + overhang) and all(d == 1 for d in dilations):
        return for_rank(_AVERAGE, rank)(x, kernel_shape, strides)
    full = [e + o for e, o in zip(end, overhang, strict=True)]
    totals = _window_sum(pad_spatial(x, begin, full), kernel_shape, strides, dilations)
    ones = x.new_ones((1, 1, *x.shape[2:]))
    counted = pad_spatial(ones, begin, end, 1.0 if count_include_pad else 0.0)
    counts = _window_sum(pad_spatial(counted, [0] * rank, overhang), kernel_shape, strides, dilations)
    return totals / counts


@operator("LpPool", (2, 11, 18, 22))
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    p: int = 2,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """x (N, C, *size) -> (N, C, *out): the p-norm of each window."""
    rank = len(kernel_shape)
    strides = strides or (1,) * rank
    dilations = dilations or (1,) * rank
    begin, end, overhang = _window(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    padded = pad_spatial(x, begin, [e + o for e, o in zip(end, overhang, strict=True)])
    sums = _window_sum(padded.abs().pow(p), kernel_shape, strides, dilations)
    # The gradient of the root is infinite at zero, so a window of zeros gets a gradient of zero.
    empty = sums <= 0
    return torch.where(empty, torch.zeros_like(sums), sums.masked_fill(empty, 1.0).pow(1 / p))
