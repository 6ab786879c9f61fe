"""Write scikit-learn's linear classifier and scaler as ordinary layers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from zskd_onnx.importer.nodes import attributes

ML = "ai.onnx.ml"
"""Domain of ONNX's operators for classical machine learning."""

OPSET = 21
"""ai.onnx opset for a file that imports none, because all its nodes are from other domains."""


def expand_linear_models(model: ir.Model) -> None:
    """Replace LinearClassifier by Gemm and its activation, and Scaler by Sub and Mul, in place.

    Both have their weights in attributes, where the searches for the final layer and for the input
    scaling do not look. Two classes with one row of coefficients give (1 - s, s), where s is the
    sigmoid of the score.

    A LinearClassifier stays if its labels are read, or if its attributes are not supported here.
    """
    model.opset_imports.setdefault("", OPSET)
    for node in list(model.graph):
        if node.domain != ML:
            continue
        if node.op_type == "Scaler":
            _expand_scaler(model.graph, node)
        elif node.op_type == "LinearClassifier":
            _expand_classifier(model.graph, node)


class _Writer:
    """Inserts nodes before another node, and names their values with a common prefix."""

    def __init__(self, graph: ir.Graph, before: ir.Node, name: str) -> None:
        self.graph, self.before, self.name, self.count = graph, before, name, 0

    def constant(self, numbers: np.ndarray) -> ir.Value:
        self.count += 1
        name = f"{self.name}_{self.count}"
        value = ir.val(name, const_value=ir.tensor(numbers.astype(np.float32), name=name))
        self.graph.register_initializer(value)
        return value

    def node(self, op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        self.count += 1
        node = ir.node(op_type, list(inputs), attributes=attributes, name=self.before.name)
        node.outputs[0].name = f"{self.name}_{self.count}"
        self.graph.insert_before(self.before, node)
        return node.outputs[0]


def _replace(old: ir.Value, new: ir.Value) -> None:
    name, old.name = old.name, f"{old.name}_replaced"
    new.name, new.type = name, old.type
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def _expand_scaler(graph: ir.Graph, node: ir.Node) -> None:
    x, settings = node.inputs[0], attributes(node)
    if x is None or len(settings.get("offset", ())) == 0 or len(settings.get("scale", ())) == 0:
        return
    output = node.outputs[0]
    write = _Writer(graph, node, output.name or "scaler")
    centred = write.node("Sub", write.node("Cast", x, to=1), write.constant(np.array(settings["offset"])))
    _replace(output, write.node("Mul", centred, write.constant(np.array(settings["scale"]))))
    graph.remove(node, safe=True)


def _expand_classifier(graph: ir.Graph, node: ir.Node) -> None:
    x, settings = node.inputs[0], attributes(node)
    labels = settings.get("classlabels_ints") or settings.get("classlabels_strings") or ()
    intercepts = np.array(settings.get("intercepts", ()), dtype=np.float32)
    coefficients = np.array(settings.get("coefficients", ()), dtype=np.float32)
    transform = settings.get("post_transform", "NONE")
    rows = len(intercepts)
    one_row = rows == 1 and len(labels) == 2 and transform == "LOGISTIC"
    known = transform in ("NONE", "SOFTMAX", "LOGISTIC")
    if x is None or not known or not rows or coefficients.size % rows or not (rows == len(labels) > 1 or one_row):
        return
    scores = node.outputs[1]
    write = _Writer(graph, node, scores.name or "scores")
    weight = write.constant(coefficients.reshape(rows, -1))
    y = write.node("Gemm", write.node("Cast", x, to=1), weight, write.constant(intercepts), transB=1)
    if transform == "LOGISTIC":
        y = write.node("Sigmoid", y)
        if one_row:
            y = write.node("Concat", write.node("Sub", write.constant(np.ones(1)), y), y, axis=1)
    elif transform == "SOFTMAX":
        y = write.node("Softmax", y, axis=1)
    _replace(scores, y)
