"""The teacher's layers, rewritten for samples of the unit space, which students take."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from zskd_onnx.errors import UsageError
from zskd_onnx.teacher.probes.onnx_chain import OnnxLayer, chain_layers
from zskd_onnx.teacher.probes.probe import inputs_probe
from zskd_onnx.teacher.teacher import Teacher

SCALING_TOLERANCE = 1e-2
"""Largest deviation from an exact scaling, as a share of the range: 8-bit and half-precision inputs are rounded."""


def fold_input_scaling(teacher: Teacher) -> list[OnnxLayer]:
    """``chain_layers(teacher)`` with the scaling of its input folded into the first layer.

    The scaling maps the unit space to the first layer's input: the range of the domain, and what the
    graph itself scales. It is v = scale * x + shift for each channel, so W' = W * scale and
    b' = b + W shift. If the first layer is a padded convolution and the shift is not 0, outputs at the
    border differ, because the teacher pads with its own zero.

    Raises:
        UsageError: the teacher is not a chain, or the scaling is not one number per channel.
            The message is the reason.
    """
    layers = chain_layers(teacher)
    if not layers:
        raise UsageError("the teacher is not a plain chain of convolutions and fully connected layers")
    first = layers[0]
    shift, maximum = (_first_input(teacher, first, torch.full(teacher.domain.shape, end)) for end in (0.0, 1.0))
    scale = maximum - shift
    _check_scaling(teacher, first, scale, shift)
    if bool((scale == 1).all()) and not shift.any():
        return layers
    if first.kind == "batch_norm":
        raise UsageError(
            f"the teacher's first layer {first.node} is a batch normalisation, and its inputs are not in [0, 1]"
        )
    scale, shift = (_per_input(values, first, teacher.domain.channels_last) for values in (scale, shift))
    columns = (1, -1, *(1,) * (first.weight.ndim - 2))
    bias_change = (first.weight * shift.view(columns)).flatten(1).sum(1)
    bias = bias_change if first.bias is None else first.bias + bias_change
    return [replace(first, weight=first.weight * scale.view(columns), bias=bias), *layers[1:]]


def _first_input(teacher: Teacher, first: OnnxLayer, sample: Tensor) -> Tensor:
    """Input of the first layer for a sample (*shape): (I, *positions), or (I,) in the file's order."""
    probe = inputs_probe(teacher, [replace(first, flattened=None)])
    device = next((b.device for b in teacher.buffers()), None)
    with torch.no_grad():
        return probe(teacher.domain.to_file(sample[None].to(device)))[1][0][0]


def _check_scaling(teacher: Teacher, first: OnnxLayer, scale: Tensor, shift: Tensor) -> None:
    """Raise UsageError unless scale and shift predict the first layer's input for a random sample.

    A non-linear function, or one that mixes values, differs from them between the ends of the range.
    """
    sample = torch.rand(teacher.domain.shape, generator=torch.Generator().manual_seed(0))
    layer_input = _first_input(teacher, first, sample).cpu()
    scale, shift = scale.cpu(), shift.cpu()
    if first.kind == "linear":
        sample = sample.flatten()
        if teacher.domain.channels_last:  # the file has another order; ``_per_input`` requires a single scale for it
            layer_input, sample = layer_input.sort().values, sample.sort(descending=bool(scale[0] < 0)).values
    expected = scale * sample + shift if layer_input.shape == sample.shape else layer_input + torch.inf
    if not torch.allclose(layer_input, expected, rtol=0, atol=SCALING_TOLERANCE * float(scale.abs().max())):
        raise UsageError(f"the teacher does more than scale its input before {first.node}")


def _per_input(values: Tensor, first: OnnxLayer, channels_last: bool) -> Tensor:
    """One number for each channel or feature that the first layer reads."""
    rows = values.flatten(1) if first.kind == "convolution" else values[:, None]
    rows = rows.expand(len(rows), -1)
    if not torch.allclose(rows, rows[:, :1].expand_as(rows), atol=1e-6):
        raise UsageError(f"the teacher scales each position of its input differently before {first.node}")
    numbers = rows[:, 0]
    if first.kind == "linear" and channels_last and not torch.allclose(numbers, numbers[:1].expand_as(numbers)):
        # ``first`` reads its inputs channels first; the order in the file may differ.
        raise UsageError(f"the teacher scales each channel differently before {first.node}")
    return numbers
