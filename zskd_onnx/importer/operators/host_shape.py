"""Decide which results of shape arithmetic are numbers or vectors, and so stay host values."""

from __future__ import annotations

from collections.abc import Container

import onnx_ir as ir

Dims = tuple[int | None, ...]
"""() for a number, (n,) for a vector of n elements, (None,) for a vector of unknown length."""

_SHAPED_BY = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1}
"""Operator -> the input whose number of elements is the number of axes of the result."""


def stays_host(node: ir.Node, hosts: Container[ir.Value]) -> bool:
    """Whether the result of a node on host values has at most one axis.

    Other results become ordinary tensors, for example zeros of a given shape, or a vector of positions
    that gains an axis.

    Args:
        node: a node whose inputs are host values or constants.
        hosts: the values that are host values so far.
    """
    if node.op_type in _SHAPED_BY:
        return _dims(node.inputs[_SHAPED_BY[node.op_type]], hosts) in ((0,), (1,))
    return node.op_type != "Unsqueeze" or _dims(node.inputs[0], hosts) == ()


def _dims(value: ir.Value | None, hosts: Container[ir.Value]) -> Dims:
    """The dimensions of a host value or a constant."""
    if value is None:
        return ()
    if value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    node = value.producer()
    if node is None or value not in hosts:
        return (None,)
    match node.op_type:
        case "Shape":
            source = node.inputs[0]
            if source in hosts:
                return (len(_dims(source, hosts)),)
            return (None if source is None or source.shape is None else len(source.shape),)
        case "Size" | "Squeeze":
            return ()
        case "Unsqueeze":
            return (1,)
        case "Concat":
            lengths = [d[0] if d else 1 for d in (_dims(v, hosts) for v in node.inputs)]
            return (None,) if None in lengths else (sum(n or 0 for n in lengths),)
        case "Gather":
            return _dims(node.inputs[1], hosts)
        case "ConstantOfShape" | "Expand" | "Reshape":
            target = _dims(node.inputs[_SHAPED_BY[node.op_type]], hosts)
            return () if target == (0,) else (None,)
        case "Slice" | "Range":
            return (None,)
        case name if name.startswith("Reduce"):
            return (1,) if "keepdims" not in node.attributes or node.attributes["keepdims"].value else ()
    vectors = [d for d in (_dims(v, hosts) for v in node.inputs) if d]
    return max(vectors, key=lambda d: d[0] or 0) if vectors else ()
