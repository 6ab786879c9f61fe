"""Normalisation and softmax."""

from __future__ import annotations

from zskd_onnx.students.thinning.axes.pointwise import join_broadcast
from zskd_onnx.students.thinning.axes.rule import axis_rule, freeze_axes, join_axes
from zskd_onnx.students.thinning.channels import Channels, Reader
from zskd_onnx.students.thinning.edit import Edit
from zskd_onnx.students.thinning.observed_graph import Node


@axis_rule("BatchNormalization", "InstanceNormalization")
def connect_channel_normalisation(node: Node, channels: Channels) -> None:
    """x (N, C, ...), and scale, bias, mean and variance (C,). The axes that statistics are taken over stay."""
    x, *weights = node.inputs
    if node.kind == "InstanceNormalization":
        freeze_axes(node, channels, x, range(2, len(node.shape(x))))
    for y in node.outputs[:1]:
        join_broadcast(channels, (x, node.shape(x)), (y, node.shape(y)))
    for name in weights:
        if name:
            join_axes(channels, (name, 0), (x, 1))


@axis_rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def connect_layer_normalisation(node: Node, channels: Channels) -> None:
    """x (..., D), scale and bias (D,). Mean and variance are those of the channels that remain."""
    x, *weights = node.inputs
    shape = node.shape(x)
    axis = node.axis(len(shape), -1)
    for y in node.outputs:
        if y:
            join_broadcast(channels, (x, shape), (y, node.shape(y)))
    for name in weights:
        if name:
            join_broadcast(channels, (name, node.shape(name)), (x, shape))
    if axis == len(shape) - 1:
        channels.readers.append(Reader(node.index, 0, axis, mean=True))
    else:
        freeze_axes(node, channels, x, range(axis, len(shape)))


def resize_group_normalisation(node: Node, edit: Edit) -> None:
    """The number of groups that remain."""
    x, groups = node.inputs[0], int(node.attributes["num_groups"])
    edit.set_attribute(node, "num_groups", edit.size(x, 1) * groups // node.shape(x)[1])


@axis_rule("GroupNormalization", resize=resize_group_normalisation)
def connect_group_normalisation(node: Node, channels: Channels) -> None:
    """x (N, C, ...), scale and bias (C,), or (groups,) before opset 21. Whole groups are removed."""
    x, *weights = node.inputs
    y = node.outputs[0]
    join_broadcast(channels, (x, node.shape(x)), (y, node.shape(y)))
    rows = channels.ids(x, 1).reshape(int(node.attributes["num_groups"]), -1)
    for column in rows.T[1:]:
        channels.join(column, rows[:, 0])
    for name in weights:
        ids = channels.ids(name, 0)
        channels.join(ids, rows[:, 0] if len(ids) == len(rows) else rows.reshape(-1))


@axis_rule("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "LRN")
def connect_softmax(node: Node, channels: Channels) -> None:
    """The axis that is normalised stays; before opset 13, softmax normalises all axes from this one on."""
    x, y = node.inputs[0], node.outputs[0]
    shape = node.shape(x)
    join_broadcast(channels, (x, shape), (y, node.shape(y)))
    if node.kind == "LRN":
        axes = [1]
    elif node.kind == "LpNormalization" or node.opset >= 13:
        axes = [node.axis(len(shape), -1)]
    else:
        axes = list(range(node.axis(len(shape), 1), len(shape)))
    freeze_axes(node, channels, x, axes)
