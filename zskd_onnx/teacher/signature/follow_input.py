"""Values that are the input moved and scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from zskd_onnx.importer.nodes import describe
from zskd_onnx.teacher.signature.input_moves import MOVES, Views, index_of, integer
from zskd_onnx.teacher.signature.input_view import View, join
from zskd_onnx.teacher.signature.quantized_head import is_quantizer

KEEPS = ("Cast", "CastLike", "Clip", "Dropout", "DynamicQuantizeLinear", "Identity")
"""Operators that keep values, or nearly so."""

NODES = 64
"""Largest number of nodes that are looked at."""

CONSTANT_LIMIT = 1 << 20
"""Largest number of values of a constant that scales."""


def follow_input(value: ir.Value, sample: Sequence[int]) -> dict[ir.Value, View]:
    """Return the input and all values that are the input moved and scaled.

    Args:
        value: the input.
        sample: shape of one sample in the file's layout.
    """
    views = {value: View.of_input(sample)}
    waiting, nodes = [value], 0
    while waiting:
        for use in waiting.pop(0).uses():
            node, nodes = use.node, nodes + 1
            if nodes > NODES:
                return views
            if not any(output in views for output in node.outputs):
                for output, view in zip(node.outputs, _follow(node, views), strict=False):
                    if view is not None:
                        views[output] = view
                        waiting.append(output)
    return views


def _follow(node: ir.Node, views: Mapping[ir.Value, View]) -> Views:
    """Return the views of a node's outputs; none where the node does more than move and scale."""
    inputs = [views.get(value) if value is not None else None for value in node.inputs]
    if is_quantizer(node):
        return [inputs[0]]
    if node.domain != "":
        return []  # an operator called Add in another domain may compute anything
    try:
        if node.op_type in ("Add", "Sub", "Mul", "Div"):
            return _scale(node, inputs)
        if node.op_type == "Concat":
            parts = [view for view in inputs if view is not None]
            whole = len(parts) == len(inputs)
            return [join(parts, index_of(integer(node, "axis", 0), parts[0]))] if whole else []
        if inputs[0] is None:
            return []
        if node.op_type in KEEPS:
            return [inputs[0]]
        move = MOVES.get(node.op_type)
        return [] if move is None else move(node, inputs[0])
    except (ArithmeticError, IndexError, ValueError):  # a constant or an attribute that does not fit the shape
        return []


def _scale(node: ir.Node, inputs: Views) -> Views:
    """Follow Add, Sub, Mul and Div with a constant. An average image counts as its mean."""
    side = 0 if inputs[0] is not None else 1
    view, other = inputs[side], node.inputs[1 - side]
    tensor = None if other is None else other.const_value
    if view is None or tensor is None or tensor.size > CONSTANT_LIMIT or not tensor.dtype.is_floating_point():
        return []
    constant = tensor.numpy().astype(np.float64)
    if constant.size and (constant == constant.flat[0]).all():
        constant = constant.reshape(-1)[:1].reshape((1,) * min(constant.ndim, 1))
    if not np.isfinite(constant).all():
        return []
    one, zero = np.ones(()), np.zeros(())
    if node.op_type in ("Add", "Sub"):
        if view.has_shape(constant.shape):
            constant = constant.mean()
        sign = 1 if node.op_type == "Add" else -1
        factor, term = (one, sign * constant) if side == 0 else (sign * one, constant)
    elif node.op_type == "Mul":
        factor, term = constant, zero
    elif side == 1 or (constant == 0).any():
        return []
    else:
        factor, term = 1 / constant, zero
    return [view.apply(np.asarray(factor), np.asarray(term), describe(node))]
