"""Operators that only move values, or resample them: what the input is behind each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from zskd_onnx.teacher.signature.input_view import BATCH, POSITIONS_LIMIT, View

Views = Sequence[View | None]
"""One for each output of a node; None for an output that is something else than the moved and scaled input."""


def _transpose(node: ir.Node, view: View) -> Views:
    rank = len(view.axes)
    order = _integers(node, None, "perm") or list(range(rank))[::-1]
    return [view.arrange(order)] if sorted(order) == list(range(rank)) else []


def _gather(node: ir.Node, view: View) -> Views:
    axis = index_of(integer(node, "axis", 0), view)
    indices = _integers(node, 1, "")
    one = node.inputs[1] is not None and node.inputs[1].shape is not None and len(node.inputs[1].shape) == 0
    part = None if indices is None else view.take(axis, indices)
    return [part.squeeze([axis]) if part is not None and one else part]


def _gather_nd(node: ir.Node, view: View) -> Views:
    """Follow GatherND along the first axis, as torch writes x[:, [2, 1, 0]] between two transpositions."""
    indices, shape = _integers(node, 1, ""), node.inputs[1].shape if node.inputs[1] is not None else None
    if indices is None or shape is None or len(shape) != 2 or shape[1] != 1 or integer(node, "batch_dims", 0):
        return []
    return [view.take(0, indices)]


def _slice(node: ir.Node, view: View) -> Views:
    starts, ends = _integers(node, 1, "starts"), _integers(node, 2, "ends")
    if starts is None or ends is None:
        return []
    axes = _optional(node, 3, "axes", range(len(starts)))
    steps = _optional(node, 4, "steps", [1] * len(starts))
    result: View | None = view
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if result is not None:
            result = result.take(index_of(axis, view), slice(start, end, step))
    return [result]


def _split(node: ir.Node, view: View) -> Views:
    axis, count = index_of(integer(node, "axis", 0), view), len(node.outputs)
    size = view.axes[axis].size
    if size is None or size == BATCH:
        return []
    part = math.ceil(size / count)
    sizes = _optional(node, 1, "split", [part] * (count - 1) + [size - part * (count - 1)])
    ends = np.cumsum(sizes).tolist()
    return [view.take(axis, slice(end - n, end)) for end, n in zip(ends, sizes, strict=True)]


def _squeeze(node: ir.Node, view: View) -> Views:
    axes = _integers(node, 1, "axes")
    return [] if axes is None else [view.squeeze([index_of(axis, view) for axis in axes])]


def _unsqueeze(node: ir.Node, view: View) -> Views:
    axes = _integers(node, 1, "axes")
    if axes is None:
        return []
    rank = len(view.axes) + len(axes)
    return [view.unsqueeze([axis % rank for axis in axes])]


def _reshape(node: ir.Node, view: View) -> Views:
    """Follow Reshape and Flatten that keep the batch."""
    sizes = [axis.size for axis in view.axes]
    known = [size for size in sizes if size is not None]
    if sizes[0] != BATCH or len(known) < len(sizes):
        return []
    count = math.prod(known[1:])
    if node.op_type == "Flatten":
        return [view.reshape([BATCH, count])] if integer(node, "axis", 1) == 1 else []
    target = _integers(node, 1, "shape")
    if not target or integer(node, "allowzero", 0):
        return []
    first, *rest = (known[i] if size == 0 else size for i, size in enumerate(target))
    if -1 in rest:
        rest[rest.index(-1)] = count // math.prod(size for size in rest if size != -1)
    if math.prod(rest) != count:  # other axes are merged into the first
        return [view.reshape([None, *rest])] if first == -1 else []
    return [view.reshape([BATCH, *rest])]


def _pad(node: ir.Node, view: View) -> Views:
    rank = len(view.axes)
    pads = _integers(node, 1, "pads")
    if pads is None:
        return []
    axes = [index_of(axis, view) for axis in _optional(node, 3, "axes", range(rank))]
    result: View | None = view
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if (before or after) and result is not None:
            size = view.axes[axis].size
            result = result.blur(axis, None if size is None else size + before + after)
    return [result]


def _resize(node: ir.Node, view: View) -> Views:
    """Follow Resize and Upsample; axes whose size stays keep their positions."""
    rank = len(view.axes)
    shape = node.outputs[0].shape or [None] * rank
    factors = _numbers(node, 2 if len(node.inputs) > 2 else 1, "scales")
    if len(shape) != rank or (factors and len(factors) != rank):
        return []
    result: View | None = view
    for i, (axis, size) in enumerate(zip(view.axes, shape, strict=True)):
        same = size == axis.size or (factors is not None and factors[i : i + 1] == [1])
        if axis.size != BATCH and not same and result is not None:
            result = result.blur(i, size if isinstance(size, int) else None)
    return [result]


MOVES: dict[str, Callable[[ir.Node, View], Views]] = {
    "Flatten": _reshape,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}
"""Operator -> the function that follows the input through it."""


def index_of(axis: int, view: View) -> int:
    """Return an axis that may count from the end as an index.

    Raises:
        ValueError: there is no such axis.
    """
    rank = len(view.axes)
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank}")
    return axis % rank


def integer(node: ir.Node, name: str, default: int) -> int:
    return int(node.attributes[name].value) if name in node.attributes else default


def _numbers(node: ir.Node, index: int | None, name: str) -> list[float] | None:
    """Return constant numbers from an input or, in older opsets, from an attribute; None without either."""
    value = node.inputs[index] if index is not None and index < len(node.inputs) else None
    if value is not None:
        tensor = value.const_value
        return None if tensor is None or tensor.size > POSITIONS_LIMIT else list(tensor.numpy().reshape(-1).tolist())
    return list(node.attributes[name].value) if name in node.attributes else None


def _integers(node: ir.Node, index: int | None, name: str) -> list[int] | None:
    """Return constant integers, see ``_numbers``."""
    numbers = _numbers(node, index, name)
    return None if numbers is None else [int(number) for number in numbers]


def _optional(node: ir.Node, index: int, name: str, default: Sequence[int]) -> Sequence[int]:
    """Return constant integers, or the default where the node has no such input or attribute.

    Raises:
        ValueError: the input is not constant.
    """
    numbers = _integers(node, index, name)
    if numbers is None and index < len(node.inputs) and node.inputs[index] is not None:
        raise ValueError(f"{name} is not constant")
    return default if numbers is None else numbers
