"""Convolution and transposed convolution."""

from __future__ import annotations

from zskd_onnx.students.thinning.axes.rule import axis_rule, freeze_axes, join_axes
from zskd_onnx.students.thinning.channels import Channels, Reader
from zskd_onnx.students.thinning.edit import Edit
from zskd_onnx.students.thinning.observed_graph import Node


def resize_groups(node: Node, edit: Edit) -> None:
    """The number of groups, where whole groups were removed."""
    groups = int(node.attributes.get("group", 1))
    if groups > 1 and _whole_groups(node):
        x = node.inputs[0]
        edit.set_attribute(node, "group", groups * edit.size(x, 1) // node.shape(x)[1])


_INPUT_AXIS = {"Conv": (1, 0), "ConvTranspose": (0, 1)}
"""Axes of a weight: that of the input's channels, and that of the output's."""


def _whole_groups(node: Node) -> bool:
    """Whether whole groups are removed; otherwise the same places of every group are.

    The one of which there are more is finer.
    """
    groups = int(node.attributes.get("group", 1))
    return groups >= node.shape(node.inputs[0])[1] // groups


@axis_rule("Conv", "ConvTranspose", resize=resize_groups)
def connect_convolution(node: Node, channels: Channels) -> None:
    """x (N, C, ...), W (M, C / groups, ...) or, transposed, (C, M / groups, ...), y (N, M, ...)."""
    x, weight, *bias = node.inputs
    y = node.outputs[0]
    rank = len(node.shape(x))
    inputs, outputs = node.shape(x)[1], node.shape(y)[1]
    groups = int(node.attributes.get("group", 1))
    into, out = _INPUT_AXIS[node.kind]
    join_axes(channels, (x, 0), (y, 0))
    for name in (x, y, weight):
        freeze_axes(node, channels, name, range(2, rank))
    for name in bias:
        if name:
            join_axes(channels, (name, 0), (y, 1))
    of_x, of_y = channels.ids(x, 1).reshape(groups, -1), channels.ids(y, 1).reshape(groups, -1)
    # One of the weight's axes has the channels of all groups, the other those of one group.
    of_into, of_out = (channels.ids(weight, axis) for axis in (into, out))
    whole = _whole_groups(node)
    if groups == 1 or not whole:
        for data, ids, size in ((of_x, of_into, inputs), (of_y, of_out, outputs)):
            if len(ids) == size:
                channels.join(data.reshape(-1), ids)
            for row in data if groups > 1 else ():
                channels.join(row, data[0])
            if len(ids) < size:
                channels.join(data[0], ids)
        channels.readers.append(Reader(node.index, 1, into))
    else:
        for data, ids in ((of_x, of_into), (of_y, of_out)):
            if len(ids) == data.size:
                channels.join(data.reshape(-1), ids)
            else:
                channels.freeze(ids, node.index)
            channels.join(data.reshape(-1), of_x[:, :1].repeat(data.shape[1], axis=1).reshape(-1))
    channels.produce(of_out if len(of_out) == outputs or groups == 1 else channels.ids(y, 1), node.index)
