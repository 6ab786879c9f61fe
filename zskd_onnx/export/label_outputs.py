"""The teacher's label and map outputs, added to an exported student."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from zskd_onnx.teacher.signature.output import Labels, Names
from zskd_onnx.teacher.teacher import Teacher

ML = "ai.onnx.ml"


def add_label_outputs(model: onnx.ModelProto, teacher: Teacher) -> None:
    """Add the teacher's other outputs to an exported student, in place and in the teacher's order.

    A label output holds the label of the largest score. If the teacher's scores are a ZipMap or a
    sequence, the student's become one too.
    """
    graph = model.graph
    (scores,) = graph.output
    outputs = {scores.name: scores}
    tensor = scores.name
    producers = {name: node.op_type for node in teacher.source.proto.graph.node for name in node.output}
    if producers.get(tensor) in ("ZipMap", "SequenceConstruct"):
        tensor = f"{scores.name}_tensor"
        for node in graph.node:
            node.output[:] = [tensor if name == scores.name else name for name in node.output]
        if teacher.zipped is not None:
            outputs[scores.name] = _add_zip_map(graph, tensor, scores.name, teacher.zipped)
            model.opset_import.append(helper.make_opsetid(ML, 1))
        else:
            graph.node.append(helper.make_node("SequenceConstruct", [tensor], [scores.name]))
            kind = helper.make_sequence_type_proto(scores.type)
            outputs[scores.name] = helper.make_value_info(scores.name, kind)
    for labels in teacher.labels:
        outputs[labels.name] = _add_label(graph, tensor, labels, teacher)
    del graph.output[:]
    graph.output.extend(outputs[value.name] for value in teacher.source.proto.graph.output if value.name in outputs)


def _add_zip_map(graph: onnx.GraphProto, tensor: str, name: str, keys: Names) -> onnx.ValueInfoProto:
    """Add a ZipMap of the scores, and return its output."""
    strings = isinstance(keys[0], str)
    attribute: dict[str, Any] = {"classlabels_strings" if strings else "classlabels_int64s": list(keys)}
    graph.node.append(helper.make_node("ZipMap", [tensor], [name], domain=ML, **attribute))
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    kind = helper.make_map_type_proto(TensorProto.STRING if strings else TensorProto.INT64, value)
    return helper.make_value_info(name, helper.make_sequence_type_proto(kind))


def _add_label(graph: onnx.GraphProto, tensor: str, labels: Labels, teacher: Teacher) -> onnx.ValueInfoProto:
    """Add the nodes that compute a label from the scores, and return their output."""

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
