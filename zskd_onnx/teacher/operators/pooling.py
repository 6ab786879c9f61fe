"""Pooling."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.teacher.operators.padding import Ints, pad_spatial, resolve_pads
from zskd_onnx.teacher.operators.registry import operator

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _window(
    x: Tensor, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints | None, auto_pad: str, ceil_mode: int
) -> tuple[list[int], list[int], list[int]]:
    """Padding before and after, and how far past it the last window of ``ceil_mode`` reaches.

    A window may start in the input or in the padding before it, never in the padding after it.
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
) -> Tensor:
    """x (N, C, *size) -> (N, C, *out); padding never wins."""
    if num_outputs > 1:
        raise NotImplementedError("the Indices output")
    rank = len(kernel_shape)
    strides = strides or (1,) * rank
    dilations = dilations or (1,) * rank
    begin, end, overhang = _window(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    end = [e + o for e, o in zip(end, overhang, strict=True)]
    within_half = all(2 * b <= k for b, k in zip(begin, kernel_shape, strict=True))
    if begin != end or not within_half:
        x, begin = pad_spatial(x, begin, end, -math.inf), [0] * rank
    return _MAX[rank](x, kernel_shape, strides, begin, dilations)


@operator("MaxPool", (1,), counts_outputs=True)
def max_pool_1(
    x: Tensor,
    *,
    kernel_shape: Ints,
    num_outputs: int,
    auto_pad: str = "NOTSET",
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    return max_pool(
        x, kernel_shape=kernel_shape, num_outputs=num_outputs, auto_pad=auto_pad, pads=pads, strides=strides
    )


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
    """x (N, C, *size) -> (N, C, *out)."""
    rank = len(kernel_shape)
    strides = strides or (1,) * rank
    dilations = dilations or (1,) * rank
    if any(d != 1 for d in dilations):
        raise NotImplementedError(f"dilations {list(dilations)}")
    begin, end, overhang = _window(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    pool = _AVERAGE[rank]
    if not any(begin + end + overhang):
        return pool(x, kernel_shape, strides)
    full = [e + o for e, o in zip(end, overhang, strict=True)]
    totals = pool(pad_spatial(x, begin, full), kernel_shape, strides)
    ones = x.new_ones((1, 1, *x.shape[2:]))
    counted = pad_spatial(ones, begin, end, 1.0) if count_include_pad else pad_spatial(ones, begin, end)
    share = pool(pad_spatial(counted, [0] * rank, overhang), kernel_shape, strides)
    return totals / share


@operator("GlobalAveragePool", (1, 22))
def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool", (1, 22))
def global_max_pool(x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)
