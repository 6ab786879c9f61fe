"""GELU, written by exporters as x (1 + erf(x / sqrt 2)) / 2."""

from __future__ import annotations

import math

import onnx_ir as ir

from zskd_onnx.importer.passes.pattern import maker, number, operands, replace


def fuse_gelu(model: ir.Model) -> None:
    """One node for the five that exporters write; torch's function keeps one value for the gradient, not four."""
    for node in list(model.graph):
        if (x := _argument(node)) is not None:
            replace(node, "com.microsoft", "Gelu", [x])


def _argument(node: ir.Node) -> ir.Value | None:
    """x, where a node makes ((1 + erf(x / sqrt 2)) x) / 2."""
    if node.op_type != "Mul" or node.domain != "":
        return None
    for product, half in operands(node):
        times = maker(product, "Mul")
        if times is None or number(half) != 0.5:
            continue
        for x, gate in operands(times):
            if x is not None and _is_gate(gate, x):
                return x
    return None


def _is_gate(value: ir.Value | None, x: ir.Value) -> bool:
    """Whether a value is 1 + erf(x / sqrt 2)."""
    plus = maker(value, "Add")
    for curve, one in operands(plus) if plus is not None else ():
        erf = maker(curve, "Erf")
        if erf is None or number(one) != 1:
            continue
        scaled = maker(erf.inputs[0], "Div")
        divisor = None if scaled is None or scaled.inputs[0] is not x else number(scaled.inputs[1])
        if divisor is not None and math.isclose(divisor, math.sqrt(2), rel_tol=1e-6):
            return True
    return False
