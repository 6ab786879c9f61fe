"""Whether an output holds one value for each of several mutually exclusive classes, as far as the graph shows."""

from __future__ import annotations

import onnx_ir as ir

from zskd_onnx.importer.nodes import attributes, describe, read_input, tensor_of
from zskd_onnx.teacher.signature.head import SAME_VALUES
from zskd_onnx.teacher.signature.quantized_head import QUANTIZED_ACTIVATIONS, is_quantizer

ML_DOMAIN = "ai.onnx.ml"

CONTAINERS = ("ZipMap", "SequenceConstruct")
"""Operators that wrap the scores into a map or a sequence."""

FINAL_ACTIVATIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
"""Operator at the end of the graph -> kind of the output."""

KEEP_ORDER = SAME_VALUES.union(CONTAINERS, FINAL_ACTIVATIONS, QUANTIZED_ACTIVATIONS)
"""Operators whose output has its values in the order of their input."""

SELECT_OR_AVERAGE = frozenset(
    {"Slice", "Gather", "Split", "ArrayFeatureExtractor", "Transpose", "ReduceMean", "ReduceMax", "Clip"}
    | {"GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool"}
)
"""Operators whose output is a probability for each label if their first input is."""


def why_not_exclusive(output: ir.Value) -> str | None:
    """Return why an output cannot hold the scores of exclusive classes, and what to do; None if nothing speaks against it.

    Refused are a sequence of several tables and the sorted scores of a TopK.
    """
    name, value = output.name, output
    while (node := value.producer()) is not None:
        if node.op_type == "SequenceConstruct" and len(node.inputs) > 1:
            return (
                f"output '{name}' is a sequence of {len(node.inputs)} tables, one for each label that the model "
                "predicts, so it is multi-label; expected one table of mutually exclusive classes: export each of its "
                "classifiers as a model of its own"
            )
        index = node.inputs[1] if node.op_type == "GatherElements" else None
        sorting = node if index is None else index.producer()
        if sorting is not None and sorting.op_type == "TopK":
            return (
                f"output '{name}' holds sorted scores ({describe(sorting)}), so its positions are no classes; "
                "export the model with the scores of all classes in their own order"
            )
        if node.op_type not in KEEP_ORDER and not is_quantizer(node):
            return None
        value = read_input(node, 0)
    return None


def are_independent_probabilities(value: ir.Value) -> bool:
    """Return whether each number is a sigmoid, or a mean, a maximum or a selection of sigmoids.

    A multi-label model ends so: one classifier for each label, with their probabilities side by side.
    """
    waiting, seen = [value], {value}
    while waiting:
        node = waiting.pop().producer()
        if node is None:
            return False
        if node.op_type in ("Sigmoid", "QLinearSigmoid"):
            continue
        if node.op_type == "Sub" and (one := read_input(node, 0)).const_value is not None:
            if not (tensor_of(one) == 1).all():
                return False
            data = [read_input(node, 1)]  # the probability of the opposite
        elif node.domain == ML_DOMAIN and node.op_type == "Normalizer":
            if attributes(node).get("norm", "MAX") != "L1":
                return False
            data = [read_input(node, 0)]
        elif node.op_type == "Concat":
            data = [read_input(node, i) for i in range(len(node.inputs))]
        elif node.op_type in SAME_VALUES or node.op_type in SELECT_OR_AVERAGE or is_quantizer(node):
            data = [read_input(node, 0)]
        else:
            return False
        waiting += [part for part in data if part not in seen]
        seen.update(data)
    return True
