"""Pooling, resizing and reductions."""

from __future__ import annotations

from zskd_onnx.students.thinning.axes.rule import axis_rule, barrier, freeze_axes, join_axes
from zskd_onnx.students.thinning.channels import Channels, Reader
from zskd_onnx.students.thinning.edit import Edit
from zskd_onnx.students.thinning.observed_graph import Node

ZEROS_DO_NOT_COUNT = ("ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2")


def resize_sizes(node: Node, edit: Edit) -> None:
    """The sizes that a Resize names, where it names them."""
    if len(node.inputs) > 3 and node.inputs[3] and "axes" not in node.attributes:
        edit.set_sizes(node, 3, node.outputs[0])


@axis_rule("Resize", "Upsample", resize=resize_sizes)
@axis_rule("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
def connect_pooling(node: Node, channels: Channels) -> None:
    """Samples and channels pass, positions stay."""
    x = node.inputs[0]
    for y in node.outputs:
        if y:
            join_axes(channels, (x, 0), (y, 0))
            join_axes(channels, (x, 1), (y, 1))
            freeze_axes(node, channels, y, range(2, len(node.shape(y))))
    freeze_axes(node, channels, x, range(2, len(node.shape(x))))


@axis_rule("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSumExp", "ArgMax", *ZEROS_DO_NOT_COUNT)
def connect_reduction(node: Node, channels: Channels) -> None:
    """Axes that remain pass. Channels end at a sum or a mean; other reductions keep their axes."""
    x, y = node.inputs[0], node.outputs[0]
    shape, kind = node.shape(x), node.kind
    axes = [node.attributes.get("axis", 0)] if kind == "ArgMax" else node.list_of("axes", 1)
    if axes is None and node.attributes.get("noop_with_empty_axes", 0):
        barrier(node, channels)
        return
    reduced = {axis % len(shape) for axis in (range(len(shape)) if axes is None else axes)}
    place = 0
    for axis in range(len(shape)):
        if axis not in reduced:
            join_axes(channels, (x, axis), (y, place))
        elif kind in ZEROS_DO_NOT_COUNT or kind == "ReduceMean":
            channels.readers.append(Reader(node.index, 0, axis, mean=kind == "ReduceMean"))
        else:
            freeze_axes(node, channels, x, [axis])
        place += axis not in reduced or bool(node.attributes.get("keepdims", 1))
