"""The inputs that a layer of a chain multiplies with its weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.teacher.probes.onnx_chain import OnnxLayer


def layer_inputs(x: Tensor, layer: OnnxLayer, positions: int, rng: torch.Generator) -> Tensor:
    """Rows (R, I) of inputs: each is multiplied with the layer's flattened weights (O, I).

    A fully connected layer has one row per sample. Of a convolution, random output positions are taken.

    Args:
        x: input of the layer: (N, C, *sides) for a convolution, (N, I) for a fully connected layer.
        layer: a convolution with one group, or a fully connected layer.
        positions: number of output positions per sample of a convolution, drawn with replacement.
        rng: random generator on the CPU.
    """
    if layer.kind == "linear":
        return x
    assert layer.padding is not None
    x = F.pad(x, [side for pad in reversed(layer.padding) for side in (pad, pad)])
    for axis, (kernel, stride, dilation) in enumerate(
        zip(layer.weight.shape[2:], layer.stride, layer.dilation, strict=True), 2
    ):
        x = x.unfold(axis, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
    sides = x.shape[2 : layer.weight.ndim]
    indices = [torch.randint(side, (positions,), generator=rng).to(x.device) for side in sides]
    every: Any = slice(None)
    return x[(every, every, *indices)].movedim(2, 1).flatten(0, 1).flatten(1)
