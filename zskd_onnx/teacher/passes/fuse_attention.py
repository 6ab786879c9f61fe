"""Attention, written by exporters as MatMul, Softmax, MatMul."""

from __future__ import annotations

import onnx_ir as ir

from zskd_onnx.teacher.operators.registry import OWN
from zskd_onnx.teacher.passes.pattern import maker, replace


def fuse_attention(model: ir.Model) -> None:
    """One node for softmax(q k) v, whose scores torch then never stores; scales stay on q and k."""
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
            replace(node, OWN, "Attention", [*scores.inputs, node.inputs[1]])
