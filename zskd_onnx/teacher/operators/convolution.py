"""Convolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.teacher.operators.padding import Ints, pad_spatial, resolve_pads
from zskd_onnx.teacher.operators.registry import operator

_CONVOLUTION = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


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
    """x (N, C, *size), weight (M, C / group, *kernel) -> (N, M, *out)."""
    kernel = tuple(weight.shape[2:])
    rank = len(kernel)
    strides = strides or (1,) * rank
    dilations = dilations or (1,) * rank
    begin, end = resolve_pads(x.shape[2:], kernel, strides, dilations, pads, auto_pad)
    if begin != end or min(begin) < 0:
        x, begin = pad_spatial(x, begin, end), [0] * rank
    return _CONVOLUTION[rank](x, weight, bias, strides, begin, dilations, group)
