"""Operators that compute each element from the elements at the same place."""

from __future__ import annotations

from zskd_onnx.students.thinning.axes.rule import axis_rule
from zskd_onnx.students.thinning.channels import Channels
from zskd_onnx.students.thinning.observed_graph import Node

Shaped = tuple[str, tuple[int, ...]]
"""A value and its shape."""

UNARY = (
    *(
        "Abs",
        "Cast",
        "CastLike",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Dropout",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
    ),
    *("HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu"),
    *("Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh"),
    "ThresholdedRelu",
)
BROADCASTING = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mean", "Sum", "Mod", "PRelu", "Where"),
    *("And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
)


def join_broadcast(channels: Channels, small: Shaped, large: Shaped) -> None:
    """Join the axes of a value with those of a value that it broadcasts to."""
    (name, shape), (whole, sizes) = small, large
    shift = len(sizes) - len(shape)
    for axis, size in enumerate(shape):
        if size == sizes[axis + shift]:
            channels.join(channels.ids(name, axis), channels.ids(whole, axis + shift))


@axis_rule(*UNARY)
def connect_unary(node: Node, channels: Channels) -> None:
    """All axes pass; further inputs are bounds or ratios, and further outputs masks."""
    x = node.inputs[0]
    for y in node.outputs:
        if y:
            join_broadcast(channels, (x, node.shape(x)), (y, node.shape(y)))


@axis_rule("Gelu", "QuickGelu", "FastGelu", "BiasGelu", domain="com.microsoft")
@axis_rule(*BROADCASTING)
def connect_broadcast(node: Node, channels: Channels) -> None:
    """Axes of one size pass; an axis of size 1 that is repeated does not."""
    y = node.outputs[0]
    for name in node.inputs:
        if name:
            join_broadcast(channels, (name, node.shape(name)), (y, node.shape(y)))
