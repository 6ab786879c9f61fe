"""Fuse fully connected layers that exporters write as MatMul and Add."""

from __future__ import annotations

import onnx_ir as ir

from zskd_onnx.importer.operators.registry import OWN
from zskd_onnx.importer.passes.pattern import exclusive_producer, operand_orders, replace


def fuse_linear(model: ir.Model) -> None:
    """Replace the two nodes of x W + b by one, in place, for constant W (F, K) and b (K,).

    Exporters write a layer this way if x has more than two axes.
    """
    for node in list(model.graph):
        if node.op_type != "Add" or node.domain != "":
            continue
        for product, bias in operand_orders(node):
            matmul = exclusive_producer(product, "MatMul")
            if matmul is not None and (width := _width(matmul.inputs[1])) is not None and _sizes(bias) == (width,):
                replace(node, OWN, "Linear", [*matmul.inputs, bias])
                break


def _width(matrix: ir.Value | None) -> int | None:
    """The number of columns K of a constant matrix (F, K), or None."""
    sizes = _sizes(matrix)
    return sizes[1] if sizes is not None and len(sizes) == 2 else None


def _sizes(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a floating-point constant, or None."""
    constant = None if value is None else value.const_value
    return None if constant is None or not constant.dtype.is_floating_point() else tuple(constant.shape.numpy())
