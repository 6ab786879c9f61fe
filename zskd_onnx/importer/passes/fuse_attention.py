"""Attention, written by exporters as MatMul, Softmax, MatMul."""

from __future__ import annotations

import onnx_ir as ir

from zskd_onnx.importer.operators.registry import OWN
from zskd_onnx.importer.passes.pattern import maker, number, operands, replace


def fuse_attention(model: ir.Model) -> None:
    """One node for softmax(scale q k) v, whose scores torch then never stores."""
    if model.opset_imports.get("", 0) < 13:
        return  # before, a softmax ran over several axes
    for node in list(model.graph):
        if node.op_type != "MatMul" or node.domain != "":
            continue
        softmax = maker(node.inputs[0], "Softmax")
        if softmax is None or ("axis" in softmax.attributes and softmax.attributes["axis"].value != -1):
            continue
        scores = maker(softmax.inputs[0], "MatMul")
        if scores is not None:
            (q, a), (k, b) = (_unscaled(value) for value in scores.inputs)
            replace(node, OWN, "Attention", [q, k, node.inputs[1]], scale=a * b)


def _unscaled(value: ir.Value | None) -> tuple[ir.Value | None, float]:
    """A value without the number that it is multiplied by, and that number."""
    times = maker(value, "Mul")
    for factor, held in operands(times) if times is not None else ():
        if (scale := number(held)) is not None:
            return factor, scale
    return value, 1.0
