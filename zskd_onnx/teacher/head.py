"""Where a classifier ends: its logits, its final fully connected layer, what follows them.

Found on the graph by following the output backwards, never by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.teacher.nodes import attributes, describe, tensor_of

SAME_VALUES = frozenset({"Identity", "Dropout", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that hand values on, perhaps in another shape or type."""

KIND = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}


@dataclass(frozen=True)
class Head:
    """The final fully connected layer, logits = weight h + bias.

    Attributes:
        weight: (K, F), one row for each class.
        bias: (K,), or None.
        node: the ONNX node that it was found at, as messages name it.
    """

    weight: Tensor
    bias: Tensor | None
    node: str


@dataclass(frozen=True)
class Tail:
    """The end of the graph.

    Attributes:
        output: the output that was chosen.
        kind: what the file gives: "logits", "softmax" or "log_softmax".
        logits: the value before a softmax, or the output itself.
        head: the final fully connected layer, or None if the graph has none.
        features: the input of the head, or None.
    """

    output: ir.Value
    kind: str
    logits: ir.Value
    head: Head | None
    features: ir.Value | None


def find_tail(model: ir.Model, output_name: str | None = None) -> Tail:
    """Find logits and head behind an output.

    Args:
        output_name: which output holds the classes; by default the only one with
            floating-point values.

    Raises:
        UnsupportedTeacherError: no output, or more than one, can hold the classes.
        UsageError: ``output_name`` is not an output.
    """
    output = _choose_output(model, output_name)
    kind, logits = "logits", output
    value = output
    while (node := value.producer()) is not None and node.domain == "":
        if node.op_type in KIND:
            kind, logits = KIND[node.op_type], _input(node, 0)
            break
        if node.op_type not in SAME_VALUES:
            break
        value = _input(node, 0)
    head, features = _find_head(logits)
    return Tail(output, kind, logits, head, features)


def _choose_output(model: ir.Model, name: str | None) -> ir.Value:
    outputs = list(model.graph.outputs)
    if name is not None:
        for value in outputs:
            if value.name == name:
                return value
        raise UsageError(f"--output-name '{name}': the outputs are {', '.join(repr(v.name) for v in outputs)}")
    floating = [v for v in outputs if v.dtype is None or v.dtype.is_floating_point()]
    if len(floating) != 1:
        raise UnsupportedTeacherError(
            f"the model has {len(floating)} floating-point outputs ({', '.join(repr(v.name) for v in outputs)}), "
            "expected one with a value for each class; choose it with --output-name"
        )
    return floating[0]


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise UnsupportedTeacherError(f"{describe(node)}: input {index} is missing")
    return value


def _find_head(value: ir.Value) -> tuple[Head, ir.Value] | tuple[None, None]:
    bias: Tensor | None = None
    pooled = False
    while (node := value.producer()) is not None and node.domain == "":
        if node.op_type in SAME_VALUES:
            value = _input(node, 0)
        elif node.op_type == "GlobalAveragePool" or (node.op_type == "ReduceMean" and _over_positions(node)):
            pooled = True  # a mean over positions commutes with a 1x1 convolution
            value = _input(node, 0)
        elif node.op_type == "Add" and bias is None and (split := _constant_operand(node)) is not None:
            value, constant = split
            bias = tensor_of(constant).flatten()
        else:
            return _linear(node, bias, pooled)
    return None, None


def _over_positions(node: ir.Node) -> bool:
    """Whether a mean of (N, C, H, W) is over H and W."""
    axes = attributes(node).get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None and node.inputs[1].const_value is not None:
        axes = tensor_of(node.inputs[1]).tolist()
    return axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]


def _constant_operand(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The computed and the constant operand of a binary node."""
    a, b = _input(node, 0), _input(node, 1)
    if b.const_value is not None:
        return a, b
    return (b, a) if a.const_value is not None else None


def _linear(node: ir.Node, bias: Tensor | None, pooled: bool) -> tuple[Head, ir.Value] | tuple[None, None]:
    if node.op_type not in ("Gemm", "MatMul", "Conv") or (pooled and node.op_type != "Conv"):
        return None, None
    data, matrix = _input(node, 0), _input(node, 1)
    if matrix.const_value is None:
        return None, None
    weight = tensor_of(matrix).float()
    settings = attributes(node)
    if node.op_type == "Gemm":
        if settings.get("transA", 0):
            return None, None
        weight = (weight if settings.get("transB", 0) else weight.T) * settings.get("alpha", 1.0)
    elif node.op_type == "MatMul":
        if weight.ndim != 2:
            return None, None
        weight = weight.T
    else:
        if settings.get("group", 1) != 1 or any(n != 1 for n in weight.shape[2:]):
            return None, None
        if any(n != 1 for n in settings.get("strides", ())) or any(settings.get("pads", ())):
            return None, None  # it does not see every position once
        weight = weight.flatten(1)
    if len(node.inputs) > 2 and node.inputs[2] is not None and node.inputs[2].const_value is not None:
        own = tensor_of(node.inputs[2]).float().flatten() * settings.get("beta", 1.0)
        bias = own if bias is None else bias + own
    if bias is not None:
        bias = bias.float().expand(len(weight)) if bias.numel() == 1 else bias.float()
        if bias.numel() != len(weight):
            return None, None
    return Head(weight.contiguous(), bias, describe(node)), data
