"""Let a file in half precision run in float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

ROUNDED_TO = "rounded to"
"""Where ``model.meta`` keeps the half-precision type that the file computes in."""

HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
TYPE_ATTRIBUTES = {"Cast": "to", "DequantizeLinear": "output_dtype", "QuantizeLinear": "precision"}
"""Operators with an attribute that names a floating-point type."""


def single_precision(model: ir.Model) -> None:
    """Make float32 of every half-precision value inside the graph; inputs and outputs keep their type.

    Gradients of a small loss vanish in half precision, and CPUs compute in it slowly or not at
    all: onnxruntime too computes in float32 there and rounds in between.
    """
    graph = model.graph
    found: set[ir.DataType] = set()
    read = {value for node in graph for value in node.inputs}  # folding leaves constants behind
    for value in list(graph.initializers.values()):
        if value in read and value.const_value is not None and value.const_value.dtype in HALF:
            found.add(value.const_value.dtype)
            value.const_value = _single(value.const_value)
            value.dtype = ir.DataType.FLOAT
    for node in graph:
        found |= _widen_attributes(node)
        for value in node.outputs:
            if value.dtype in HALF and not value.is_graph_output():
                value.dtype = ir.DataType.FLOAT
    for value in graph.inputs:
        if value.dtype is not None and value.dtype in HALF and value.uses():
            found.add(value.dtype)
            _cast_input(graph, value)
    for value in list(graph.outputs):
        if value.dtype is not None and value.dtype in HALF and value.producer() is not None:
            found.add(value.dtype)
            _cast_output(graph, value, value.dtype)
    if found:
        model.meta[ROUNDED_TO] = ir.DataType.BFLOAT16 if ir.DataType.BFLOAT16 in found else ir.DataType.FLOAT16


def _single(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)


def _widen_attributes(node: ir.Node) -> set[ir.DataType]:
    """Let attributes that make half-precision values make float32; returns the types found."""
    found: set[ir.DataType] = set()
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in HALF:
            found.add(attribute.as_tensor().dtype)
            node.attributes[name] = ir.AttrTensor(name, _single(attribute.as_tensor()))
        elif TYPE_ATTRIBUTES.get(node.op_type) == name and attribute.value in HALF:
            found.add(ir.DataType(attribute.value))
            node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT)
    return found


def _cast_input(graph: ir.Graph, value: ir.Value) -> None:
    cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=f"{value.name}_in_float32")
    cast.outputs[0].name = f"{value.name}_in_float32"
    ir.convenience.replace_all_uses_with(value, cast.outputs[0])
    cast.replace_input_with(0, value)
    graph.insert_before(graph[0], cast)


def _cast_output(graph: ir.Graph, value: ir.Value, written: ir.DataType) -> None:
    """The graph's output keeps its name and its type; what is computed in float32 gets another name."""
    node = value.producer()
    assert node is not None
    cast = ir.node("Cast", [value], {"to": written}, name=f"{value.name}_as_written")
    made = cast.outputs[0]
    made.name, made.dtype, made.shape = value.name, written, value.shape
    value.name, value.dtype = f"{value.name}_in_float32", ir.DataType.FLOAT
    graph.insert_after(node, cast)
    for i, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[i] = made
