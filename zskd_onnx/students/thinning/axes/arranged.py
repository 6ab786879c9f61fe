"""Operators that reorder axes, or add and drop axes of size 1."""

from __future__ import annotations

from zskd_onnx.students.thinning.axes.rule import axis_rule, join_axes
from zskd_onnx.students.thinning.channels import Channels
from zskd_onnx.students.thinning.observed_graph import Node


@axis_rule("Transpose")
def connect_transpose(node: Node, channels: Channels) -> None:
    """Axes pass to their new places."""
    x, y = node.inputs[0], node.outputs[0]
    rank = len(node.shape(x))
    order = node.attributes.get("perm", list(range(rank))[::-1])
    for place, axis in enumerate(order):
        join_axes(channels, (x, axis), (y, place))


@axis_rule("Squeeze", "Unsqueeze")
def connect_squeeze(node: Node, channels: Channels) -> None:
    """Axes pass, but for those that come or go."""
    shorter, longer = node.inputs[0], node.outputs[0]
    if node.kind == "Squeeze":
        shorter, longer = longer, shorter
    rank = len(node.shape(longer))
    axes = node.list_of("axes", 1)
    if axes is None:
        axes = [axis for axis, size in enumerate(node.shape(longer)) if size == 1]
    gone = {axis % rank for axis in axes}
    for place, axis in enumerate(axis for axis in range(rank) if axis not in gone):
        join_axes(channels, (shorter, place), (longer, axis))
