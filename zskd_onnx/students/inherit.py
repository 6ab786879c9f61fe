"""A student that starts from the teacher's strongest channels.

Both are chains of the same layers, the student's narrower. Each hidden layer keeps the channels with
the largest weights, and the next one keeps the inputs that come from them. Equal widths are copied:
a student of the teacher's own shape is the teacher (but for the border, see ``unit_space_layers``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.chain import ChainLayer, chain
from zskd_onnx.students.unit_space import unit_space_layers
from zskd_onnx.teacher import Teacher, WeightedLayer

Assignments = list[tuple[Tensor, Tensor]]
"""What is to be overwritten, and by what."""


def inherits(student: nn.Module, teacher: Teacher) -> str | None:
    """Why a student cannot inherit from a teacher; None where it can."""
    try:
        _assignments(student, teacher)
    except UsageError as reason:
        return str(reason)
    return None


def inherit(student: nn.Module, teacher: Teacher) -> None:
    """Overwrite a student's weights with those of the teacher's strongest channels; nothing is drawn.

    A layer with n channels where the teacher's has N keeps those whose weights have the largest
    norm, times the scale of a batch normalisation that follows, in their order. The weights of the
    next layer grow by sqrt(N / n), which makes up for the inputs that it lost.

    Where the exporter folded a batch normalisation into the layer before, the student's adds that
    layer's bias and does nothing else in inference mode. In training mode it normalises, so such a
    student starts a little off.

    Raises:
        UsageError: the student has not the teacher's topology, or is wider; the message names the layer.
    """
    try:
        assignments = _assignments(student, teacher)
    except UsageError as reason:
        raise UsageError(f"the student cannot inherit from the teacher: {reason}; start it fresh") from reason
    with torch.no_grad():
        for mine, inherited in assignments:
            mine.copy_(inherited)


@dataclass
class _Flow:
    """The value between two layers.

    Attributes:
        kept: which of the teacher's channels the student has, in order.
        channels: how many the teacher has.
        growth: what makes up for the others.
        bias: of the layer before, where the student's has none.
    """

    kept: Tensor
    channels: int
    growth: float = 1.0
    bias: Tensor | float = 0.0

    def inputs(self, count: int) -> Tensor:
        """The student's among ``count`` inputs of the teacher's next layer; flattening gives each channel a run."""
        run = torch.arange(count // self.channels, device=self.kept.device)
        return (self.kept[:, None] * len(run) + run).flatten()


def _assignments(student: nn.Module, teacher: Teacher) -> Assignments:
    """Walk both chains side by side.

    Raises:
        UsageError: the message is the reason why the student cannot inherit.
    """
    ours, theirs = chain(student), _giving_logits(unit_space_layers(teacher), teacher)
    entry = theirs[0].weight
    width = entry.shape[1] if entry.ndim > 1 else len(entry)
    flow = _Flow(torch.arange(width, device=entry.device), width)
    found: Assignments = []
    for mine, following in zip(ours, [*ours[1:], None], strict=True):
        given = theirs[0] if theirs else None
        if mine.kind == "batch_norm":
            matches = given is not None and given.kind == "batch_norm"
            found += _batch_norm(mine, theirs.pop(0) if matches else None, flow)
            continue
        if given is None or given.kind != mine.kind:
            expected = "nothing more" if given is None else f"{given.node} ({given.kind})"
            raise UsageError(f"where the student has layer '{mine.name}' ({mine.kind}), the teacher has {expected}")
        del theirs[0]
        norms = theirs[0] if theirs and theirs[0].kind == "batch_norm" else None
        last = all(layer.kind == "batch_norm" for layer in theirs)
        bias_follows = following is not None and following.kind == "batch_norm" and following.adjoins
        found += _weighted(mine, given, flow, _strength(given, norms), last=last, bias_follows=bias_follows)
    if theirs:
        raise UsageError(f"the teacher's {theirs[0].node} ({theirs[0].kind}) has no counterpart in the student")
    return found


def _giving_logits(layers: list[WeightedLayer], teacher: Teacher) -> list[WeightedLayer]:
    """With a last layer of one row for each class, where the file's has one row for two classes."""
    last = layers[-1]
    if teacher.output.mix is None or last.kind == "batch_norm":
        return layers
    weight = teacher.output.to_logits(last.weight.movedim(0, -1)).movedim(-1, 0)
    bias = None if last.bias is None else teacher.output.to_logits(last.bias)
    return [*layers[:-1], replace(last, weight=weight, bias=bias)]


def _strength(layer: WeightedLayer, norm: WeightedLayer | None) -> Tensor:
    """How much each channel matters: the norm of its weights, with the batch normalisation folded in."""
    strength = layer.weight.flatten(1).norm(dim=1)
    if norm is None or len(norm.weight) != len(strength):
        return strength
    assert norm.variance is not None
    return strength * norm.weight.abs() / (norm.variance + norm.epsilon).sqrt()


def _weighted(
    mine: ChainLayer, given: WeightedLayer, flow: _Flow, strength: Tensor, *, last: bool, bias_follows: bool
) -> Assignments:
    """A convolution or fully connected layer; ``flow`` moves on to its output."""
    module: Any = mine.module
    where = f"the student's layer '{mine.name}'"
    if given.kind == "convolution":
        _check_geometry(where, module, given)
    inputs, (units, own_inputs) = flow.inputs(given.weight.shape[1]), module.weight.shape[:2]
    if own_inputs != len(inputs):
        raise UsageError(f"{where} has {own_inputs} inputs, {len(inputs)} come from the teacher's {given.node}")
    channels = len(given.weight)
    if units > channels or (last and units != channels):
        raise UsageError(f"{where} gives {units} channels, the teacher's {given.node} {channels}")
    chosen = strength.topk(units).indices.sort().values
    found = [(module.weight, given.weight[chosen][:, inputs] * flow.growth)]
    bias = torch.zeros_like(strength[chosen]) if given.bias is None else given.bias[chosen]
    flow.kept, flow.channels, flow.growth, flow.bias = chosen, channels, math.sqrt(channels / units), 0.0
    if module.bias is not None:
        found.append((module.bias, bias))
    elif bias_follows:
        flow.bias = bias
    elif given.bias is not None:
        raise UsageError(f"{where} has no bias, the teacher's {given.node} has one")
    return found


def _batch_norm(mine: ChainLayer, given: WeightedLayer | None, flow: _Flow) -> Assignments:
    """A batch normalisation; without the teacher's, one that adds ``flow.bias`` alone."""
    module: Any = mine.module
    if module.weight is None or module.running_mean is None:
        raise UsageError(f"the student's layer '{mine.name}' has no weights or no statistics")
    bias, flow.bias = flow.bias, 0.0
    if given is None:
        one = torch.ones(len(module.weight), device=flow.kept.device)
        return [
            *((module.weight, one * math.sqrt(1 + module.eps)), (module.bias, one * bias)),
            *((module.running_mean, 0 * one), (module.running_var, one)),
        ]
    inputs = flow.inputs(len(given.weight))
    if len(inputs) != len(module.weight):
        raise UsageError(
            f"the student's layer '{mine.name}' has {len(module.weight)} channels, {len(inputs)} come from the "
            f"teacher's {given.node}"
        )
    assert given.bias is not None
    assert given.mean is not None
    assert given.variance is not None
    variance = (given.variance[inputs] + given.epsilon - module.eps).clamp_min(0)
    return [
        *((module.weight, given.weight[inputs]), (module.bias, given.bias[inputs])),
        *((module.running_mean, given.mean[inputs] - bias), (module.running_var, variance)),
    ]


def _check_geometry(where: str, module: Any, given: WeightedLayer) -> None:
    expected = _geometry(given)
    for what, own in _geometry(module).items():
        if own != expected[what]:
            raise UsageError(f"{where} has {what} {own}, the teacher's {given.node} has {expected[what]}")
    if given.groups != 1:
        raise UsageError(f"the teacher's {given.node} has {given.groups} groups, expected 1")


def _geometry(layer: Any) -> dict[str, Any]:
    """How a convolution moves, torch's or the teacher's."""
    kernel = tuple(layer.weight.shape[2:])
    padding = layer.padding
    if isinstance(padding, str):
        same = padding == "same"
        padding = tuple(d * (k - 1) // 2 if same else 0 for k, d in zip(kernel, layer.dilation, strict=True))
    return {
        **{"kernel": kernel, "stride": layer.stride, "padding": padding},
        **{"dilation": layer.dilation, "groups": layer.groups},
    }
