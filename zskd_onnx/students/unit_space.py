"""A teacher's layers as they would be if the teacher took samples of the unit space, as students do."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from zskd_onnx.errors import UsageError
from zskd_onnx.teacher import Teacher, WeightedLayer, inputs_probe, weighted_layers


def unit_space_layers(teacher: Teacher) -> list[WeightedLayer]:
    """``weighted_layers`` with the way from the unit space to the first layer put into that layer.

    That way is the domain's range and what the graph scales itself: v = scale * x + shift for each
    channel, so W' = W * scale and b' = b + W shift. Where the first layer is a convolution that
    pads, and shift is not 0, the border differs: the teacher pads with its own zero.

    Raises:
        UsageError: the teacher is no chain, or the way is not one number for each channel;
            the message is the reason.
    """
    layers = weighted_layers(teacher)
    if not layers:
        raise UsageError("the teacher is no plain chain of convolutions and fully connected layers")
    first = layers[0]
    shift, one = _first_input(teacher, first)
    scale = one - shift
    if bool((scale == 1).all()) and not shift.any():
        return layers
    if first.kind == "batch_norm":
        raise UsageError(f"the teacher's {first.node} normalises inputs that are not from 0 to 1")
    scale, shift = (_per_input(end, first, teacher.domain.channels_last) for end in (scale, shift))
    columns = (1, -1, *(1,) * (first.weight.ndim - 2))
    moved = (first.weight * shift.view(columns)).flatten(1).sum(1)
    bias = moved if first.bias is None else first.bias + moved
    return [replace(first, weight=first.weight * scale.view(columns), bias=bias), *layers[1:]]


def _first_input(teacher: Teacher, first: WeightedLayer) -> tuple[Tensor, Tensor]:
    """What the first layer reads, (I, *positions) or (I,) as the file has it, where the sample is 0 and where it is 1 throughout."""
    probe = inputs_probe(teacher, [replace(first, flattened=None)])
    device = next((b.device for b in teacher.buffers()), None)
    with torch.no_grad():
        low, high = (
            probe(teacher.domain.to_file(torch.full((1, *teacher.domain.shape), end, device=device)))[1][0][0]
            for end in (0.0, 1.0)
        )
    return low, high


def _per_input(values: Tensor, first: WeightedLayer, channels_last: bool) -> Tensor:
    """One number for each channel or feature that the first layer reads."""
    each = values.flatten(1) if first.kind == "convolution" else values[:, None]
    alike = each.expand(len(each), -1)
    if not torch.allclose(alike, alike[:, :1].expand_as(alike), atol=1e-6):
        raise UsageError(f"the teacher scales each position of its input differently before {first.node}")
    numbers = each[:, 0]
    if first.kind == "linear" and channels_last and not torch.allclose(numbers, numbers[:1].expand_as(numbers)):
        # ``first`` has its inputs channels first, the file may not have.
        raise UsageError(f"the teacher scales each channel differently before {first.node}")
    return numbers
