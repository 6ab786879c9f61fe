"""Which axis has the channels where a Reshape splits an axis of channels into several."""

from __future__ import annotations

from zskd_onnx.students.thinning.observed_graph import Node

MOST_STEPS = 40

Places = dict[int, int]
"""Axis of the Reshape's output -> the same axis of a later value."""


def split_axis(reshape: Node, axes: list[int]) -> int:
    """One of the axes that a Reshape makes of an axis of channels.

    1. An axis that a product of matrices repeats over: attention heads.
    2. The longest, where a Transpose swaps the axes and a Reshape merges them again: a shuffle.
    3. The first: groups of a normalisation.

    Args:
        reshape: the node.
        axes: axes of its output, two or more.
    """
    pending: list[tuple[str, Places]] = [(reshape.outputs[0], {axis: axis for axis in axes})]
    for _ in range(MOST_STEPS):
        if not pending:
            break
        value, places = pending.pop(0)
        for node in reshape.graph.readers.get(value, []):
            if node.kind == "MatMul":
                repeated = [axis for axis, place in places.items() if place < len(node.shape(value)) - 2]
                if repeated:
                    return repeated[-1]
            elif (
                node.kind == "Reshape" and len(places) == len(axes) and list(places.values()) != sorted(places.values())
            ):
                sizes = reshape.shape(reshape.outputs[0])
                return max(axes, key=lambda axis: sizes[axis])
            else:
                pending += [
                    (name, after) for name in node.outputs if name and (after := _follow(node, value, name, places))
                ]
    return axes[0]


def _follow(node: Node, value: str, output: str, places: Places) -> Places:
    """Where axes of an input are in an output; those that end are left out, and nothing passes a Reshape."""
    rank, new_rank = len(node.shape(value)), len(node.graph.shapes.get(output, ()))
    if node.kind in ("Reshape", "Flatten", "Shape", "Conv"):
        return {}
    if node.kind == "Transpose":
        order = list(node.attributes.get("perm", list(range(rank))[::-1]))
        return {axis: order.index(place) for axis, place in places.items()}
    if node.kind == "Gather" and len(node.shape(node.inputs[1])) == 0:
        gone = node.axis(rank, 0)
        return {axis: place - (place > gone) for axis, place in places.items() if place != gone}
    if node.kind == "Squeeze":
        squeezed = {axis % rank for axis in node.list_of("axes", 1) or []}
        return {
            axis: place - sum(gone < place for gone in squeezed)
            for axis, place in places.items()
            if place not in squeezed
        }
    if new_rank < rank:
        return {}
    return {axis: place + new_rank - rank for axis, place in places.items()}
