"""Convert a model in half precision to float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

ROUNDED_TO = "rounded to"
"""Key of ``model.meta``: the half-precision type that the file computes in."""

HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""The half-precision types."""

TYPE_ATTRIBUTES = {"Cast": "to", "DequantizeLinear": "output_dtype", "QuantizeLinear": "precision"}
"""Operator -> its attribute that selects a floating-point type."""


def single_precision(model: ir.Model) -> None:
    """Convert every half-precision value inside the graph to float32, in place.

    Inputs and outputs keep their types. Gradients of a small loss vanish in half precision, and
    CPUs compute in it slowly or not at all. onnxruntime too computes in float32 there, and rounds
    in between.

    ``model.meta[ROUNDED_TO]`` is set if there was any half-precision value.
    """
    graph = model.graph
    types: set[ir.DataType] = set()
    inputs = {value for node in graph for value in node.inputs}  # folding leaves unused constants behind
    for value in list(graph.initializers.values()):
        if value in inputs and value.const_value is not None and value.const_value.dtype in HALF:
            types.add(value.const_value.dtype)
            widen_constant(value)
    for node in graph:
        types |= widen_attributes(node)
        for value in node.outputs:
            if value.dtype in HALF and not value.is_graph_output():
                value.dtype = ir.DataType.FLOAT
    for value in graph.inputs:
        if value.dtype is not None and value.dtype in HALF and value.uses():
            types.add(value.dtype)
            _cast_input(graph, value)
    for value in list(graph.outputs):
        if value.dtype is not None and value.dtype in HALF and value.producer() is not None:
            types.add(value.dtype)
            _cast_output(graph, value, value.dtype)
    if types:
        model.meta[ROUNDED_TO] = ir.DataType.BFLOAT16 if ir.DataType.BFLOAT16 in types else ir.DataType.FLOAT16


def widen_constant(value: ir.Value) -> None:
    """Convert a constant in half precision to float32, in place."""
    if value.const_value is not None and value.const_value.dtype in HALF:
        value.const_value = _single(value.const_value)
        value.dtype = ir.DataType.FLOAT


def _single(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)


def widen_attributes(node: ir.Node) -> set[ir.DataType]:
    """Change half-precision attributes of a node to float32; returns the types that they had."""
    types: set[ir.DataType] = set()
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in HALF:
            types.add(attribute.as_tensor().dtype)
            node.attributes[name] = ir.AttrTensor(name, _single(attribute.as_tensor()))
        elif TYPE_ATTRIBUTES.get(node.op_type) == name and attribute.value in HALF:
            types.add(ir.DataType(attribute.value))
            node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT)
    return types


def _cast_input(graph: ir.Graph, value: ir.Value) -> None:
    """Insert a Cast to float32 behind a graph input."""
    cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=f"{value.name}_in_float32")
    cast.outputs[0].name = f"{value.name}_in_float32"
    ir.convenience.replace_all_uses_with(value, cast.outputs[0])
    cast.replace_input_with(0, value)
    graph.insert_before(graph[0], cast)


def _cast_output(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> None:
    """Insert a Cast to ``dtype`` before a graph output.

    The output keeps its name and type; the float32 value before it gets another name.
    """
    node = value.producer()
    assert node is not None
    cast = ir.node("Cast", [value], {"to": dtype}, name=f"{value.name}_as_written")
    new_output = cast.outputs[0]
    new_output.name, new_output.dtype, new_output.shape = value.name, dtype, value.shape
    value.name, value.dtype = f"{value.name}_in_float32", ir.DataType.FLOAT
    graph.insert_after(node, cast)
    for i, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[i] = new_output
