"""What a layer of a chain multiplies its weights with."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.teacher.probes.onnx_chain import WeightedLayer


def patches(x: Tensor, layer: WeightedLayer, positions: int, generator: torch.Generator) -> Tensor:
    """Inputs of a layer, (R, I): what its weights (O, I), flattened, are multiplied with.

    Args:
        x: what the layer reads, (N, C, *sides) of a convolution, (N, I) of a fully connected layer.
        layer: a convolution of one group, or a fully connected layer.
        positions: of a convolution's output, how many of each sample are taken at random, repetitions among them; a fully
            connected layer has one.
        generator: on the CPU.
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
    at = [torch.randint(side, (positions,), generator=generator).to(x.device) for side in sides]
    every: Any = slice(None)
    return x[(every, every, *at)].movedim(2, 1).flatten(0, 1).flatten(1)
