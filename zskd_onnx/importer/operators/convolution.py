"""Convolution and transposed convolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.importer.operators.block_convolution import block_convolution, block_side, block_weight
from zskd_onnx.importer.operators.padding import Ints, for_rank, pad_spatial, resolve_pads
from zskd_onnx.importer.operators.registry import operator

_CONVOLUTION = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@operator("Conv", (1, 11, 22))
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """x (N, C, *size), weight (M, C / group, *kernel) -> (N, M, *out).

    If x needs a gradient on a CPU, a layer of few channels is computed in blocks (see
    ``block_convolution``).
    """
    kernel = tuple(weight.shape[2:])
    rank = len(kernel)
    strides = strides or (1,) * rank
    dilations = dilations or (1,) * rank
    convolve = for_rank(_CONVOLUTION, rank)
    begin, end = resolve_pads(x.shape[2:], kernel, strides, dilations, pads, auto_pad)
    if begin != end or min(begin) < 0:
        x, begin = pad_spatial(x, begin, end), [0] * rank
    if x.requires_grad and x.is_cpu and rank == 2 and group == 1 and set(strides) == set(dilations) == {1}:
        side = block_side(weight)
        if side > 1:
            return block_convolution(x, block_weight(weight, side), bias, kernel, begin, side)
    return convolve(x, weight, bias, strides, begin, dilations, group)


@operator("ConvTranspose", (1, 11, 22))
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """x (N, C, *size), weight (C, M / group, *kernel) -> (N, M, *out).

    The full result is cropped by the pads, and extended at its end by ``output_padding``.
    """
    kernel = tuple(weight.shape[2:])
    rank = len(kernel)
    strides = strides or (1,) * rank
    dilations = dilations or (1,) * rank
    extra = output_padding or (0,) * rank
    transpose = for_rank(_TRANSPOSED, rank)
    if output_shape is None and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        output_shape = tuple(n * s for n, s in zip(x.shape[2:], strides, strict=True))
    full = transpose(x, weight, None, strides, 0, 0, group, dilations)
    if output_shape is None:
        begin, end = resolve_pads(x.shape[2:], kernel, strides, dilations, pads, auto_pad)
        grow = [more - e for more, e in zip(extra, end, strict=True)]
    else:
        sizes = output_shape[-rank:]
        totals = [max(n + more - size, 0) for n, more, size in zip(full.shape[2:], extra, sizes, strict=True)]
        begin = [total // 2 if auto_pad == "SAME_UPPER" else total - total // 2 for total in totals]
        grow = [size - (n - b) for size, n, b in zip(sizes, full.shape[2:], begin, strict=True)]
    y = pad_spatial(full, [-b for b in begin], grow)
    # The positions that output_padding adds have the bias too, so it is added last.
    return y if bias is None else y + bias.reshape(-1, *(1,) * rank)
