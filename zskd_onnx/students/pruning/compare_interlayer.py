"""Comparison of the operations between layers with weights (activation, pooling, flattening) of student and teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.pruning.torch_chain import TorchLayer
from zskd_onnx.teacher.probes.onnx_chain import OnnxLayer
from zskd_onnx.teacher.probes.probe import inputs_probe
from zskd_onnx.teacher.teacher import Teacher

SAMPLES = 8

TOLERANCE = 0.02
"""Largest mean difference relative to the mean magnitude. It allows half precision and a leaky ReLU of slope 0.01."""

CONVOLVE = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}

Pairs = Sequence[tuple[TorchLayer, OnnxLayer | None]]
"""Layers of the student, each with the teacher's corresponding layer in the file's own scale.

None stands for a batch normalisation that only the student has; pruned initialisation makes it an identity.
"""


def compare_interlayer(student: nn.Module, teacher: Teacher, pairs: Pairs) -> None:
    """Compare what student and teacher compute between their layers with weights.

    The teacher's layer outputs for random samples are passed through the student's operations, and the
    results are compared with the inputs of the teacher's next layers.

    Raises:
        UsageError: the results differ. The message names the layers and is the reason why the student
            should not start with the teacher's channels.
    """
    layers = [layer for _, layer in pairs if layer is not None]
    device = next((b.device for b in teacher.buffers()), None)
    unit = torch.rand((SAMPLES, *teacher.domain.shape), generator=torch.Generator().manual_seed(0))
    training = student.training
    student.eval()
    try:
        with torch.no_grad():
            _, inputs = inputs_probe(teacher, layers)(teacher.domain.to_file(unit.to(device)))
            _compare(student, pairs, unit, inputs)
    finally:
        student.train(training)


def _compare(student: nn.Module, pairs: Pairs, unit: Tensor, inputs: Sequence[Tensor]) -> None:
    """Compare layer by layer.

    Args:
        unit: samples (N, *shape) in the unit space.
        inputs: the input of each of the teacher's layers for these samples.
    """
    remaining_inputs, nodes = iter(inputs), list[fx.Node]()
    previous: OnnxLayer | None = None
    output, width = unit, unit.shape[1]  # of the previous layer: the teacher's output, the student's channel count
    for student_layer, layer in pairs:
        nodes += student_layer.preceding
        if layer is None:
            continue
        layer_input = next(remaining_inputs).float()
        expected = unit  # the input scaling will be in the student's first layer, see ``fold_input_scaling``
        if previous is not None:
            expected = layer_input[:, : layer_input.shape[1] // len(previous.weight) * width]
        computed = _run_nodes(student, nodes, output[:, :width].contiguous(), student_layer)
        if not _relative_difference(computed.flatten(1), expected.flatten(1)) <= TOLERANCE:
            subject, place = " on its input", ""
            if previous is not None:
                subject, place = "", f" between {previous.node} and {layer.node}"
            raise UsageError(
                f"the student's operations{subject} before layer '{student_layer.name}' (scaling, activation, pooling) "
                f"differ from the teacher's{place}"
            )
        module: Any = student_layer.module
        nodes, previous, output, width = [], layer, _apply(layer, layer_input), len(module.weight)


def _apply(layer: OnnxLayer, x: Tensor) -> Tensor:
    """The output of a layer for an input."""
    weight, bias = layer.weight.float(), None if layer.bias is None else layer.bias.float()
    if layer.kind == "linear":
        return F.linear(x, weight, bias)
    if layer.kind == "batch_norm":
        return F.batch_norm(x, layer.mean, layer.variance, weight, bias, eps=layer.epsilon)
    settings: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    return CONVOLVE[x.ndim](x, weight, bias, groups=layer.groups, **settings)


def _run_nodes(student: nn.Module, nodes: Sequence[fx.Node], x: Tensor, layer: TorchLayer) -> Tensor:
    """The student's operations before ``layer``, applied to x."""
    for node in nodes:
        args, kwargs = _with_value(node.args, x), _with_value(node.kwargs, x)
        try:
            if node.op == "call_module":
                x = student.get_submodule(str(node.target))(*args, **kwargs)
            elif node.op == "call_method":
                x = getattr(args[0], str(node.target))(*args[1:], **kwargs)
            else:
                function: Any = node.target
                x = function(*args, **kwargs)
        except Exception as error:  # a custom student may raise anything
            raise UsageError(
                f"the student's operations before layer '{layer.name}' do not accept the teacher's activations "
                f"({node.name})"
            ) from error
    return x


def _with_value(arguments: Any, x: Tensor) -> Any:
    """Arguments of a node, with a value in place of the node that it reads."""
    return fx.map_arg(arguments, lambda node: x)


def _relative_difference(computed: Tensor, expected: Tensor) -> float:
    """Mean absolute difference relative to the mean magnitude; infinite for different shapes."""
    if computed.shape != expected.shape:
        return math.inf
    return float((computed - expected).abs().mean() / expected.abs().mean().clamp_min(1e-12))
