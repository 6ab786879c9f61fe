"""A fully connected layer on more than two axes, written by exporters as MatMul and Add."""

from __future__ import annotations

import onnx_ir as ir

from zskd_onnx.importer.operators.registry import OWN
from zskd_onnx.importer.passes.pattern import maker, operands, replace


def fuse_linear(model: ir.Model) -> None:
    """One node for x W + b with constant W (F, K) and b (K,)."""
    for node in list(model.graph):
        if node.op_type != "Add" or node.domain != "":
            continue
        for product, bias in operands(node):
            matmul = maker(product, "MatMul")
            if matmul is not None and (width := _width(matmul.inputs[1])) is not None and _sizes(bias) == (width,):
                replace(node, OWN, "Linear", [*matmul.inputs, bias])
                break


def _width(matrix: ir.Value | None) -> int | None:
    sizes = _sizes(matrix)
    return sizes[1] if sizes is not None and len(sizes) == 2 else None


def _sizes(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a constant of floating-point numbers."""
    held = None if value is None else value.const_value
    return None if held is None or not held.dtype.is_floating_point() else tuple(held.shape.numpy())
