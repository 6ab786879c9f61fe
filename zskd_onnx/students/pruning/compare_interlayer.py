"""What stands between layers with weights: a student's activations, pooling and flattening beside its teacher's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.pruning.torch_chain import ChainLayer
from zskd_onnx.teacher.probes.onnx_chain import WeightedLayer
from zskd_onnx.teacher.probes.probe import inputs_probe
from zskd_onnx.teacher.teacher import Teacher

SAMPLES = 8

TOLERANCE = 0.02
"""Mean difference, as a share of the mean magnitude: half precision passes, and a leak of a hundredth."""

CONVOLVE = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}

Pairs = Sequence[tuple[ChainLayer, WeightedLayer | None]]
"""Layers of the student's, and the teacher's in their places as its file has them; None for a batch normalisation that the
student alone has, and that will do nothing."""


def check_between(student: nn.Module, teacher: Teacher, pairs: Pairs) -> None:
    """Compare what the student does to the teacher's own values, from layer to layer, with what the teacher does.

    Raises:
        UsageError: they differ; the message names the layers and is the reason why the student cannot inherit.
    """
    given = [layer for _, layer in pairs if layer is not None]
    device = next((b.device for b in teacher.buffers()), None)
    unit = torch.rand((SAMPLES, *teacher.domain.shape), generator=torch.Generator().manual_seed(0))
    training = student.training
    student.eval()
    try:
        with torch.no_grad():
            _, inputs = inputs_probe(teacher, given)(teacher.domain.to_file(unit.to(device)))
            _compare(student, pairs, unit, inputs)
    finally:
        student.train(training)


def _compare(student: nn.Module, pairs: Pairs, unit: Tensor, inputs: Sequence[Tensor]) -> None:
    """``unit``: samples in the unit space, ``inputs``: what each of the teacher's layers reads of them."""
    values, nodes = iter(inputs), list[fx.Node]()
    previous: WeightedLayer | None = None
    given, kept = unit, unit.shape[1]  # what it gives, and how many of its outputs the student has room for
    for mine, layer in pairs:
        nodes += mine.before
        if layer is None:
            continue
        read = next(values).float()
        # The way from the unit space to the teacher's first layer is put into the student's, see ``unit_space_layers``.
        theirs = unit if previous is None else read[:, : read.shape[1] // len(previous.weight) * kept]
        ours = _follow(student, nodes, given[:, :kept].contiguous(), mine)
        if not _apart(ours.flatten(1), theirs.flatten(1)) <= TOLERANCE:
            what, where = (
                ("its input", "") if previous is None else ("what it has", f" between {previous.node} and {layer.node}")
            )
            raise UsageError(
                f"what the student does to {what} before its layer '{mine.name}' (scaling, activation, pooling) is not what the "
                f"teacher does{where}"
            )
        module: Any = mine.module
        nodes, previous, given, kept = [], layer, _apply(layer, read), len(module.weight)


def _apply(layer: WeightedLayer, x: Tensor) -> Tensor:
    """What a layer gives for what it reads."""
    weight, bias = layer.weight.float(), None if layer.bias is None else layer.bias.float()
    if layer.kind == "linear":
        return F.linear(x, weight, bias)
    if layer.kind == "batch_norm":
        return F.batch_norm(x, layer.mean, layer.variance, weight, bias, eps=layer.epsilon)
    settings: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    return CONVOLVE[x.ndim](x, weight, bias, groups=layer.groups, **settings)


def _follow(student: nn.Module, nodes: Sequence[fx.Node], x: Tensor, layer: ChainLayer) -> Tensor:
    """The student's forward pass along some nodes of a chain."""
    for node in nodes:
        args, kwargs = _given(node.args, x), _given(node.kwargs, x)
        try:
            if node.op == "call_module":
                x = student.get_submodule(str(node.target))(*args, **kwargs)
            elif node.op == "call_method":
                x = getattr(args[0], str(node.target))(*args[1:], **kwargs)
            else:
                function: Any = node.target
                x = function(*args, **kwargs)
        except Exception as error:  # of any kind, as the functions may be the user's
            raise UsageError(
                f"what the student does before its layer '{layer.name}' cannot be done to the teacher's values ({node.name})"
            ) from error
    return x


def _given(arguments: Any, x: Tensor) -> Any:
    """A node's arguments with a value in the place of the one node among them."""
    return fx.map_arg(arguments, lambda node: x)


def _apart(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return math.inf
    return float((ours - theirs).abs().mean() / theirs.abs().mean().clamp_min(1e-12))
