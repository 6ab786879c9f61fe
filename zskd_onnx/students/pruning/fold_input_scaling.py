"""A teacher's layers as they would be if the teacher took samples of the unit space, as students do."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from zskd_onnx.errors import UsageError
from zskd_onnx.teacher.probes.onnx_chain import WeightedLayer, weighted_layers
from zskd_onnx.teacher.probes.probe import inputs_probe
from zskd_onnx.teacher.teacher import Teacher

WAY_TOLERANCE = 1e-2
"""What 8-bit or half-precision inputs may differ by, as a share of their range."""


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
    shift, one = (_first_input(teacher, first, torch.full(teacher.domain.shape, end)) for end in (0.0, 1.0))
    scale = one - shift
    _check_way(teacher, first, scale, shift)
    if bool((scale == 1).all()) and not shift.any():
        return layers
    if first.kind == "batch_norm":
        raise UsageError(f"the teacher's {first.node} normalises inputs that are not from 0 to 1")
    scale, shift = (_per_input(end, first, teacher.domain.channels_last) for end in (scale, shift))
    columns = (1, -1, *(1,) * (first.weight.ndim - 2))
    moved = (first.weight * shift.view(columns)).flatten(1).sum(1)
    bias = moved if first.bias is None else first.bias + moved
    return [replace(first, weight=first.weight * scale.view(columns), bias=bias), *layers[1:]]


def _first_input(teacher: Teacher, first: WeightedLayer, sample: Tensor) -> Tensor:
    """What the first layer reads of a sample (*shape), (I, *positions) or (I,) as the file has it."""
    probe = inputs_probe(teacher, [replace(first, flattened=None)])
    device = next((b.device for b in teacher.buffers()), None)
    with torch.no_grad():
        return probe(teacher.domain.to_file(sample[None].to(device)))[1][0][0]


def _check_way(teacher: Teacher, first: WeightedLayer, scale: Tensor, shift: Tensor) -> None:
    """Refuse what is no scaling of each value by itself: between its ends it shows, and where values differ."""
    sample = torch.rand(teacher.domain.shape, generator=torch.Generator().manual_seed(0))
    read = _first_input(teacher, first, sample).cpu()
    scale, shift = scale.cpu(), shift.cpu()
    if first.kind == "linear":
        sample = sample.flatten()
        if teacher.domain.channels_last:  # the file has another order, in which ``_per_input`` wants one scale
            read, sample = read.sort().values, sample.sort(descending=bool(scale[0] < 0)).values
    expected = scale * sample + shift if read.shape == sample.shape else read + torch.inf
    if not torch.allclose(read, expected, rtol=0, atol=WAY_TOLERANCE * float(scale.abs().max())):
        raise UsageError(f"the teacher does more than to scale its input before {first.node}")


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
