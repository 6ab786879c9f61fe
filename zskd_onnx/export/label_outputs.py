"""The teacher's other outputs on the student: the winner's name, and a map from names to values."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from zskd_onnx.teacher.signature.output import Labels, Names
from zskd_onnx.teacher.teacher import Teacher

ML = "ai.onnx.ml"


def add_labels(model: onnx.ModelProto, teacher: Teacher) -> None:
    """Add to an exported student, in place, the outputs that the teacher has beside its values.

    The label is that of the largest value. Where the teacher's output is a ZipMap or a sequence,
    the student's becomes one too. Outputs stand in the teacher's order.
    """
    graph = model.graph
    (values,) = graph.output
    given = {values.name: values}
    tensor = values.name
    makers = {name: node.op_type for node in teacher.source.proto.graph.node for name in node.output}
    if makers.get(tensor) in ("ZipMap", "SequenceConstruct"):
        tensor = f"{values.name}_tensor"
        for node in graph.node:
            node.output[:] = [tensor if name == values.name else name for name in node.output]
        if teacher.zipped is not None:
            given[values.name] = _zip_map(graph, tensor, values.name, teacher.zipped)
            model.opset_import.append(helper.make_opsetid(ML, 1))
        else:
            graph.node.append(helper.make_node("SequenceConstruct", [tensor], [values.name]))
            kind = helper.make_sequence_type_proto(values.type)
            given[values.name] = helper.make_value_info(values.name, kind)
    for labels in teacher.labels:
        given[labels.name] = _label(graph, tensor, labels, teacher)
    del graph.output[:]
    graph.output.extend(given[value.name] for value in teacher.source.proto.graph.output if value.name in given)


def _zip_map(graph: onnx.GraphProto, tensor: str, name: str, keys: Names) -> onnx.ValueInfoProto:
    words = isinstance(keys[0], str)
    attribute: dict[str, Any] = {"classlabels_strings" if words else "classlabels_int64s": list(keys)}
    graph.node.append(helper.make_node("ZipMap", [tensor], [name], domain=ML, **attribute))
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    kind = helper.make_map_type_proto(TensorProto.STRING if words else TensorProto.INT64, value)
    return helper.make_value_info(name, helper.make_sequence_type_proto(kind))


def _label(graph: onnx.GraphProto, tensor: str, labels: Labels, teacher: Teacher) -> onnx.ValueInfoProto:
    def node(op_type: str, inputs: list[str], step: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(op_type, inputs, [f"{labels.name}_{step}"], **attributes))
        return f"{labels.name}_{step}"

    def constant(array: np.ndarray, step: str) -> str:
        graph.initializer.append(numpy_helper.from_array(array, f"{labels.name}_{step}"))
        return f"{labels.name}_{step}"

    flat = node("Reshape", [tensor, constant(np.array([0, -1]), "flat_shape")], "flat")
    flat = node("Cast", [flat], "float", to=TensorProto.FLOAT)
    if teacher.output.kind == "sigmoid":
        over = node("Greater", [flat, constant(np.array(0.5, dtype=np.float32), "half")], "over")
        winner = node("Cast", [over], "winner", to=TensorProto.INT64)
    else:
        winner = node("ArgMax", [flat], "winner", axis=1)
    sizes = np.array([-1, *labels.shape])
    winner = node("Reshape", [winner, constant(sizes, "shape")], "index")
    kind = {"int64": TensorProto.INT64, "int32": TensorProto.INT32, "string": TensorProto.STRING}[labels.dtype]
    names = np.array(labels.names, dtype=object if labels.dtype == "string" else labels.dtype)
    graph.node.append(helper.make_node("Gather", [constant(names, "names"), winner], [labels.name]))
    return helper.make_tensor_value_info(labels.name, kind, ["batch", *labels.shape])
