"""Fuse attention, which exporters write as MatMul, Softmax, MatMul."""

from __future__ import annotations

import onnx_ir as ir

from zskd_onnx.importer.operators.registry import OWN
from zskd_onnx.importer.passes.pattern import exclusive_producer, operand_orders, replace, scalar_of


def fuse_attention(model: ir.Model) -> None:
    """Replace the nodes of softmax(scale q k) v by one, in place, so that torch need not store the scores."""
    if model.opset_imports.get("", 0) < 13:
        return  # Softmax of older opsets runs over several axes
    for node in list(model.graph):
        if node.op_type != "MatMul" or node.domain != "":
            continue
        softmax = exclusive_producer(node.inputs[0], "Softmax")
        if softmax is None or ("axis" in softmax.attributes and softmax.attributes["axis"].value != -1):
            continue
        scores = exclusive_producer(softmax.inputs[0], "MatMul")
        if scores is not None:
            (q, a), (k, b) = (_unscaled(value) for value in scores.inputs)
            replace(node, OWN, "Attention", [q, k, node.inputs[1]], scale=a * b)


def _unscaled(value: ir.Value | None) -> tuple[ir.Value | None, float]:
    """A value before its multiplication by a number, and that number; 1 if there is none."""
    mul = exclusive_producer(value, "Mul")
    for factor, constant in operand_orders(mul) if mul is not None else ():
        if (scale := scalar_of(constant)) is not None:
            return factor, scale
    return value, 1.0
