"""Where a classifier ends: its logits, its final fully connected layer, what follows them.

Found on the graph by following the output backwards, never by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import torch
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
        features: the input of the head; of both where two heads are averaged; none without one.
    """

    output: ir.Value
    kind: str
    logits: ir.Value
    head: Head | None
    features: tuple[ir.Value, ...]


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
    found = _find_affine(logits)
    if found is None:
        return Tail(output, kind, logits, None, ())
    return Tail(output, kind, logits, Head(found.weight, found.bias, found.node), found.features)


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


@dataclass(frozen=True)
class _Affine:
    """A value as an affine map of features: W h + b, h the mean of ``features`` where there are several."""

    weight: Tensor
    bias: Tensor | None
    features: tuple[ir.Value, ...]
    node: str

    def scaled(self, factor: float) -> _Affine:
        bias = None if self.bias is None else self.bias * factor
        return _Affine(self.weight * factor, bias, self.features, self.node)

    def shifted(self, constant: Tensor) -> _Affine | None:
        """With a constant added, or None if it does not hold one number for each class or for all."""
        if constant.numel() not in (1, len(self.weight)):
            return None
        own = torch.zeros(len(self.weight)) if self.bias is None else self.bias
        return _Affine(self.weight, own + constant.float().flatten(), self.features, self.node)

    def plus(self, other: _Affine) -> _Affine | None:
        """The sum of two heads, such as those of a class and a distillation token."""
        if self.weight.shape != other.weight.shape:
            return None
        total = _Affine(
            self.weight + other.weight, self.bias, self.features + other.features, f"{self.node} and {other.node}"
        )
        return total if other.bias is None else total.shifted(other.bias)


def _find_affine(value: ir.Value, *, alone: bool = True) -> _Affine | None:
    """Follow a value backwards to the linear layer, or the two that are averaged, behind it.

    Args:
        alone: False inside a sum, where no other sum is looked into: a file of nested sums
            would take for ever.
    """
    pooled = False
    steps: list[tuple[str, Tensor]] = []
    while (node := value.producer()) is not None and node.domain == "":
        if node.op_type in SAME_VALUES:
            value = _input(node, 0)
        elif node.op_type == "GlobalAveragePool" or (node.op_type == "ReduceMean" and _over_positions(node)):
            pooled = True  # a mean over positions commutes with a 1x1 convolution
            value = _input(node, 0)
        elif node.op_type in ("Add", "Mul", "Div") and (split := _constant_operand(node)) is not None:
            value = split[0]
            if node.op_type == "Div" and value is not node.inputs[0]:
                return None
            steps.append((node.op_type, tensor_of(split[1])))
        else:
            break
    if node is None:
        return None
    found: _Affine | None
    if node.op_type == "Add" and alone and not pooled:
        first, second = (_find_affine(_input(node, i), alone=False) for i in (0, 1))
        found = None if first is None or second is None else first.plus(second)
    else:
        found = _linear(node, pooled)
    for kind, constant in reversed(steps):
        if found is None or (kind != "Add" and constant.numel() != 1):
            return None
        if kind == "Add":
            found = found.shifted(constant)
        else:
            found = found.scaled(float(constant) if kind == "Mul" else 1 / float(constant))
    return found


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


def _linear(node: ir.Node, pooled: bool) -> _Affine | None:
    """Gemm, MatMul or a 1x1 convolution with constant weights."""
    if node.domain != "" or node.op_type not in ("Gemm", "MatMul", "Conv") or (pooled and node.op_type != "Conv"):
        return None
    data, matrix = _input(node, 0), _input(node, 1)
    if matrix.const_value is None:
        return None
    weight = tensor_of(matrix).float()
    settings = attributes(node)
    if node.op_type == "Gemm":
        if settings.get("transA", 0):
            return None
        weight = (weight if settings.get("transB", 0) else weight.T) * settings.get("alpha", 1.0)
    elif node.op_type == "MatMul":
        if weight.ndim != 2:
            return None
        weight = weight.T
    else:
        if settings.get("group", 1) != 1 or any(n != 1 for n in weight.shape[2:]):
            return None
        if any(n != 1 for n in settings.get("strides", ())) or any(settings.get("pads", ())):
            return None  # it does not see every position once
        weight = weight.flatten(1)
    found = _Affine(weight.contiguous(), None, (data,), describe(node))
    if len(node.inputs) > 2 and node.inputs[2] is not None and node.inputs[2].const_value is not None:
        return found.shifted(tensor_of(node.inputs[2]) * settings.get("beta", 1.0))
    return found
