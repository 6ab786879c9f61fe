"""Fuse GELU, which exporters write as x (1 + erf(x / sqrt 2)) / 2."""

from __future__ import annotations

import math

import onnx_ir as ir

from zskd_onnx.importer.passes.pattern import exclusive_producer, operand_orders, replace, scalar_of


def fuse_gelu(model: ir.Model) -> None:
    """Replace the five nodes of a GELU by one, in place.

    torch's function then stores one tensor for the gradient instead of four.
    """
    for node in list(model.graph):
        if (x := _argument(node)) is not None:
            replace(node, "com.microsoft", "Gelu", [x])


def _argument(node: ir.Node) -> ir.Value | None:
    """x, if a node computes ((1 + erf(x / sqrt 2)) x) / 2, else None."""
    if node.op_type != "Mul" or node.domain != "":
        return None
    for product, half in operand_orders(node):
        mul = exclusive_producer(product, "Mul")
        if mul is None or scalar_of(half) != 0.5:
            continue
        for x, gate in operand_orders(mul):
            if x is not None and _is_gate(gate, x):
                return x
    return None


def _is_gate(value: ir.Value | None, x: ir.Value) -> bool:
    """Whether a value is 1 + erf(x / sqrt 2)."""
    add = exclusive_producer(value, "Add")
    for curve, one in operand_orders(add) if add is not None else ():
        erf = exclusive_producer(curve, "Erf")
        if erf is None or scalar_of(one) != 1:
            continue
        div = exclusive_producer(erf.inputs[0], "Div")
        divisor = None if div is None or div.inputs[0] is not x else scalar_of(div.inputs[1])
        if divisor is not None and math.isclose(divisor, math.sqrt(2), rel_tol=1e-6):
            return True
    return False
