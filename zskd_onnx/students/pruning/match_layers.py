"""Correspondence of a student's layers to its teacher's, which pruned initialisation requires."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.pruning.fold_input_scaling import fold_input_scaling
from zskd_onnx.students.pruning.torch_chain import TorchLayer, student_layers
from zskd_onnx.teacher.probes.onnx_chain import OnnxLayer
from zskd_onnx.teacher.teacher import Teacher


@dataclass
class LayerPair:
    """A layer of the student and the corresponding layer of the teacher.

    Attributes:
        student: the student's layer.
        teacher: the teacher's layer; None for a batch normalisation that only the student has.
        width: number of channels that the student's layer puts out.
        run: values per channel of the previous layer that this layer reads: the number of positions where
            they have been flattened, otherwise 1.
        takes_bias: whether the student's layer has a bias, or a batch normalisation directly after it
            can absorb one.
    """

    student: TorchLayer
    teacher: OnnxLayer | None
    width: int
    run: int
    takes_bias: bool

    @property
    def weighted(self) -> OnnxLayer:
        """The teacher's convolution or fully connected layer."""
        assert self.teacher is not None
        return self.teacher

    def select(self, channels: Tensor) -> LayerPair:
        """A copy with only some output channels of the teacher's layer."""
        if self.teacher is None:
            return self
        rows = channels
        if self.student.kind == "batch_norm":
            rows = (channels[:, None] * self.run + torch.arange(self.run, device=channels.device)).flatten()
        layer = self.teacher
        weight, bias, mean, variance = (
            None if part is None else part[rows] for part in (layer.weight, layer.bias, layer.mean, layer.variance)
        )
        assert weight is not None
        return replace(self, teacher=replace(layer, weight=weight, bias=bias, mean=mean, variance=variance))


def match_layers(student: nn.Module, teacher: Teacher) -> list[LayerPair]:
    """Pairs of corresponding layers, in order.

    Raises:
        UsageError: the layers do not correspond; the message is the reason.
    """
    own_layers = student_layers(student)
    unmatched = _with_row_per_class(fold_input_scaling(teacher), teacher)
    first_weight = unmatched[0].weight
    # Width of the previous layer in the teacher and in the student.
    channels = width = first_weight.shape[1] if first_weight.ndim > 1 else len(first_weight)
    pairs: list[LayerPair] = []
    for own, following in zip(own_layers, [*own_layers[1:], None], strict=True):
        layer = unmatched[0] if unmatched else None
        if own.kind == "batch_norm":
            layer = unmatched.pop(0) if layer is not None and layer.kind == "batch_norm" else None
            run = 1 if layer is None else len(layer.weight) // channels
            _check_batch_norm(own, layer, width * run)
            pairs.append(LayerPair(own, layer, width, run, takes_bias=True))
            continue
        if layer is None:
            raise UsageError(f"the student's layer '{own.name}' ({own.kind}) has no counterpart in the teacher")
        if layer.kind != own.kind:
            raise UsageError(
                f"the student has layer '{own.name}' ({own.kind}) where the teacher has {layer.node} ({layer.kind})"
            )
        del unmatched[0]
        module: Any = own.module
        norm_follows = following is not None and following.kind == "batch_norm" and following.follows_directly
        takes_bias = norm_follows or module.bias is not None
        run = layer.weight.shape[1] // channels
        last = all(other.kind == "batch_norm" for other in unmatched)
        _check_weighted(own, layer, width * run, last=last, takes_bias=takes_bias)
        channels, width = len(layer.weight), len(module.weight)
        pairs.append(LayerPair(own, layer, width, run, takes_bias))
    if unmatched:
        raise UsageError(f"the teacher's {unmatched[0].node} ({unmatched[0].kind}) has no counterpart in the student")
    return pairs


def _with_row_per_class(layers: list[OnnxLayer], teacher: Teacher) -> list[OnnxLayer]:
    """The layers, with one row per class in the last one; a binary classifier may have one row for both classes."""
    last = layers[-1]
    if teacher.output.mix is None or last.kind == "batch_norm":
        return layers
    weight = teacher.output.to_logits(last.weight.movedim(0, -1)).movedim(-1, 0)
    bias = None if last.bias is None else teacher.output.to_logits(last.bias)
    return [*layers[:-1], replace(last, weight=weight, bias=bias)]


def _check_batch_norm(own: TorchLayer, layer: OnnxLayer | None, inputs: int) -> None:
    module: Any = own.module
    if module.weight is None or module.running_mean is None:
        raise UsageError(
            f"the student's batch normalisation '{own.name}' has no weights or no running statistics; expected both"
        )
    if layer is not None and inputs != len(module.weight):
        raise UsageError(
            f"the student's layer '{own.name}' has {len(module.weight)} channels, expected {inputs} to match the "
            f"teacher's {layer.node}"
        )


def _check_weighted(own: TorchLayer, layer: OnnxLayer, inputs: int, *, last: bool, takes_bias: bool) -> None:
    module: Any = own.module
    where = f"the student's layer '{own.name}'"
    if layer.kind == "convolution":
        _check_geometry(where, module, layer)
    units, own_inputs = module.weight.shape[:2]
    if own_inputs != inputs:
        raise UsageError(f"{where} has {own_inputs} inputs, expected {inputs} to match the teacher's {layer.node}")
    channels = len(layer.weight)
    if units > channels or (last and units != channels):
        limit = f"{channels}" if last else f"at most {channels}"
        raise UsageError(f"{where} has {units} output channels, expected {limit} as in the teacher's {layer.node}")
    if layer.bias is not None and not takes_bias:
        raise UsageError(f"{where} has no bias, the teacher's {layer.node} has one")


def _check_geometry(where: str, module: Any, layer: OnnxLayer) -> None:
    expected = _geometry(layer)
    for what, value in _geometry(module).items():
        if value != expected[what]:
            raise UsageError(f"{where} has {what} {value}, the teacher's {layer.node} has {expected[what]}")
    if layer.groups != 1:
        raise UsageError(f"the teacher's {layer.node} has {layer.groups} groups, expected 1")


def _geometry(layer: Any) -> dict[str, Any]:
    """Kernel size, stride, padding, dilation and groups of a convolution, torch's or the teacher's."""
    kernel = tuple(layer.weight.shape[2:])
    padding = layer.padding
    if isinstance(padding, str):
        same = padding == "same"
        padding = tuple(d * (k - 1) // 2 if same else 0 for k, d in zip(kernel, layer.dilation, strict=True))
    return {
        **{"kernel": kernel, "stride": layer.stride, "padding": padding},
        **{"dilation": layer.dilation, "groups": layer.groups},
    }
