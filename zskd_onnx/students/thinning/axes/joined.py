"""Operators that put tensors together or take parts of them."""

from __future__ import annotations

from zskd_onnx.students.thinning.axes.pointwise import join_broadcast
from zskd_onnx.students.thinning.axes.rule import axis_rule, freeze_axes, join_axes
from zskd_onnx.students.thinning.channels import Channels
from zskd_onnx.students.thinning.edit import Edit
from zskd_onnx.students.thinning.observed_graph import Node


def join_others(node: Node, channels: Channels, x: str, y: str, axes: set[int]) -> None:
    """Join all axes of two values of one rank but some."""
    for axis in set(range(len(node.shape(x)))) - axes:
        join_axes(channels, (x, axis), (y, axis))


@axis_rule("Concat")
def connect_concat(node: Node, channels: Channels) -> None:
    """The axis has the positions of all inputs, one after another."""
    y = node.outputs[0]
    axis = node.axis(len(node.shape(y)), 1)
    begin = 0
    for name in node.inputs:
        join_others(node, channels, name, y, {axis})
        size = node.shape(name)[axis]
        channels.join(channels.ids(name, axis), channels.ids(y, axis)[begin : begin + size])
        begin += size


def resize_split(node: Node, edit: Edit) -> None:
    """The sizes of the parts."""
    x = node.inputs[0]
    axis = node.axis(len(node.shape(x)), 0)
    sizes = [edit.size(name, axis) for name in node.outputs]
    if sizes == [node.shape(name)[axis] for name in node.outputs]:
        return
    if "split" in node.attributes or node.opset < 13:
        edit.set_attribute(node, "split", sizes)
    elif len(node.inputs) > 1 and node.inputs[1]:
        edit.set_integers(node, 1, dict(enumerate(sizes)))
    elif len(set(sizes)) > 1:
        edit.add_integers(node, 1, sizes)
        edit.remove_attribute(node, "num_outputs")


@axis_rule("Split", resize=resize_split)
def connect_split(node: Node, channels: Channels) -> None:
    """The outputs have the positions of the axis, one after another."""
    x = node.inputs[0]
    axis = node.axis(len(node.shape(x)), 0)
    begin = 0
    for name in node.outputs:
        join_others(node, channels, x, name, {axis})
        size = node.shape(name)[axis]
        channels.join(channels.ids(name, axis), channels.ids(x, axis)[begin : begin + size])
        begin += size


def _slices(node: Node) -> dict[int, tuple[int, int, int, int]]:
    """Axis -> place among the node's axes, start, end and step, within the axis."""
    shape = node.shape(node.inputs[0])
    starts, ends = node.list_of("starts", 1) or [], node.list_of("ends", 2) or []
    axes = node.list_of("axes", 3) or list(range(len(starts)))
    steps = node.list_of("steps", 4) or [1] * len(starts)
    slices = {}
    for place, (axis, start, end, step) in enumerate(zip(axes, starts, ends, steps, strict=True)):
        slices[axis % len(shape)] = (place, *slice(start, end, step).indices(shape[axis]))
    return slices


def resize_slice(node: Node, edit: Edit) -> None:
    """Start and end among the channels that remain."""
    x = node.inputs[0]
    for axis, (place, start, end, _) in _slices(node).items():
        mask = edit.mask(x, axis)
        if mask.all():
            continue
        for name, position, value in (("starts", 1, start), ("ends", 2, end)):
            remaining = int(mask[:value].sum())
            if name in node.attributes:
                values = list(node.attributes[name])
                values[place] = remaining
                edit.set_attribute(node, name, values)
            else:
                edit.set_integers(node, position, {place: remaining})


@axis_rule("Slice", resize=resize_slice)
def connect_slice(node: Node, channels: Channels) -> None:
    """Axes that are cut with step 1 pass in part."""
    x, y = node.inputs[0], node.outputs[0]
    slices = _slices(node)
    join_others(node, channels, x, y, set(slices))
    for axis, (_, start, end, step) in slices.items():
        if step == 1:
            channels.join(channels.ids(x, axis)[start:end], channels.ids(y, axis))
        else:
            freeze_axes(node, channels, x, [axis])
            freeze_axes(node, channels, y, [axis])


def _pads(node: Node) -> dict[int, tuple[int, int]]:
    """Axis -> positions added before and after it."""
    rank = len(node.shape(node.inputs[0]))
    pads = node.list_of("pads", 1) or []
    axes = node.list_of("axes", 3) if len(node.inputs) > 3 else None
    axes = list(range(rank)) if axes is None else [axis % rank for axis in axes]
    return {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}


def resize_pad(node: Node, edit: Edit) -> None:
    """As many positions before and after an axis as remain there."""
    y = node.outputs[0]
    pads = _pads(node)
    changes = {}
    for place, (axis, (before, after)) in enumerate(pads.items()):
        mask = edit.mask(y, axis)
        if before > 0:
            changes[place] = int(mask[:before].sum())
        if after > 0:
            changes[place + len(pads)] = int(mask[len(mask) - after :].sum())
    if "pads" in node.attributes:
        values = list(node.attributes["pads"])
        for place, size in changes.items():
            values[place] = size
        edit.set_attribute(node, "pads", values)
    else:
        edit.set_integers(node, 1, changes)


@axis_rule("Pad", resize=resize_pad)
def connect_pad(node: Node, channels: Channels) -> None:
    """An axis that is widened with a constant passes; the new positions may be removed too."""
    x, y = node.inputs[0], node.outputs[0]
    pads = _pads(node)
    constant = node.attributes.get("mode", b"constant") == b"constant"
    for axis in range(len(node.shape(x))):
        before, after = pads.get(axis, (0, 0))
        of_x, of_y = channels.ids(x, axis), channels.ids(y, axis)
        if (before, after) == (0, 0):
            channels.join(of_x, of_y)
        elif constant and min(before, after) >= 0:
            channels.join(of_x, of_y[before : before + len(of_x)])
        else:
            channels.freeze(of_x, node.index)
            channels.freeze(of_y, node.index)


@axis_rule("Gather")
def connect_gather(node: Node, channels: Channels) -> None:
    """The axis that is indexed stays, unless the index is a single number; the others pass."""
    x, indices = node.inputs
    y = node.outputs[0]
    shape, rank = node.shape(x), len(node.shape(indices))
    axis = node.axis(len(shape), 0)
    for other in range(len(shape)):
        if other == axis:
            channels.freeze(channels.ids(x, axis), node.index)
        else:
            join_axes(channels, (x, other), (y, other if other < axis else other + rank - 1))
    for place in range(rank):
        freeze_axes(node, channels, y, [axis + place])
    if x in node.graph.constants:
        for other in set(range(len(shape))) - {axis}:
            channels.produce(channels.ids(x, other), node.index)


def resize_expand(node: Node, edit: Edit) -> None:
    """The sizes to expand to."""
    edit.set_sizes(node, 1, node.outputs[0], leave=(1,))


@axis_rule("Expand", resize=resize_expand)
def connect_expand(node: Node, channels: Channels) -> None:
    """Axes of one size pass; an axis that is repeated is as long as its reader needs."""
    x, y = node.inputs[0], node.outputs[0]
    join_broadcast(channels, (x, node.shape(x)), (y, node.shape(y)))


def resize_constant(node: Node, edit: Edit) -> None:
    """The sizes of a tensor of equal numbers."""
    edit.set_sizes(node, 0, node.outputs[0])


@axis_rule("ConstantOfShape", resize=resize_constant)
@axis_rule("Constant", "Shape", "Size")
def connect_nothing(node: Node, channels: Channels) -> None:
    """No axis of an output is one of an input."""
