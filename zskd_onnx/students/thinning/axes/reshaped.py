"""Reshape and Flatten: axes that are merged and split."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from zskd_onnx.students.thinning.axes.rule import axis_rule, freeze_axes
from zskd_onnx.students.thinning.axes.split_axis import split_axis
from zskd_onnx.students.thinning.channels import Channels
from zskd_onnx.students.thinning.edit import Edit
from zskd_onnx.students.thinning.observed_graph import Node

Axes = list[int]


def resize_reshape(node: Node, edit: Edit) -> None:
    """The sizes that a Reshape names."""
    if len(node.inputs) > 1:
        edit.set_sizes(node, 1, node.outputs[0], leave=(0, -1))
    elif "shape" in node.attributes:
        sizes = [s if s in (0, -1) else edit.size(node.outputs[0], i) for i, s in enumerate(node.attributes["shape"])]
        edit.set_attribute(node, "shape", sizes)


@axis_rule("Flatten")
@axis_rule("Reshape", resize=resize_reshape)
def connect_reshape(node: Node, channels: Channels) -> None:
    """Axes are joined block by block; a block is the shortest run of axes with the same number of elements on both sides.

    In a block, one axis of the input that has channels is joined with one axis of the output, position by position of the
    flattened block. The other axes of the block stay.
    """
    x, y = node.inputs[0], node.outputs[0]
    for before, after in blocks(node.shape(x), node.shape(y)):
        wide, new_wide = [i for i in before if node.shape(x)[i] > 1], [i for i in after if node.shape(y)[i] > 1]
        produced = wide if len(wide) == len(new_wide) == 1 else [i for i in wide if channels.are_produced(x, i)]
        if not produced:
            freeze_axes(node, channels, x, wide)
            freeze_axes(node, channels, y, new_wide)
            continue
        axis = produced[0]
        place = dict(zip(wide, np.indices([node.shape(x)[i] for i in wide]), strict=True))[axis].reshape(-1)
        new_places = dict(zip(new_wide, np.indices([node.shape(y)[i] for i in new_wide]), strict=True))
        ids = channels.ids(x, axis)[place]
        new_axis = _matching_axis(channels.roots(ids), {i: p.reshape(-1) for i, p in new_places.items()}, node)
        channels.join(ids, channels.ids(y, new_axis)[new_places[new_axis].reshape(-1)])
        freeze_axes(node, channels, x, [i for i in wide if i != axis])
        freeze_axes(node, channels, y, [i for i in new_wide if i != new_axis])


def blocks(before: tuple[int, ...], after: tuple[int, ...]) -> Iterator[tuple[Axes, Axes]]:
    """The shortest runs of axes with the same number of elements on both sides; axes of size 1 join the run before them."""
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = [i] if i < len(before) else [], [j] if j < len(after) else []
        i, j = i + len(left), j + len(right)
        while (p := math.prod(before[k] for k in left)) != (q := math.prod(after[k] for k in right)):
            if p < q:
                left.append(i)
                i += 1
            else:
                right.append(j)
                j += 1
        yield left, right


def _matching_axis(roots: np.ndarray, places: dict[int, np.ndarray], node: Node) -> int:
    """The axis of the output along which the channels lie.

    This is the axis of which each position belongs to one channel, as where an earlier split is undone. Where a channel axis
    is split anew there is none, and what reads it decides, see ``split_axis``.
    """
    for axis, place in places.items():
        lowest = np.full(place.max() + 1, np.iinfo(np.int64).max)
        np.minimum.at(lowest, place, roots)
        if np.array_equal(lowest[place], roots) and len(np.unique(lowest)) == len(np.unique(roots)):
            return axis
    return split_axis(node, list(places))
