"""The interface check of an exported student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from zskd_onnx import load_teacher
from zskd_onnx.export.export import export_student

node, info = helper.make_node, helper.make_tensor_value_info
PAIRS = ((0, 1), (0, 2), (1, 2))


def one_versus_one(path: Path) -> Path:
    """A one-versus-one classifier of three classes, as skl2onnx writes it, whose label has no declared shape.

    The scores are the votes of three binary classifiers plus a bounded sum of their confidences.
    """
    rng = np.random.default_rng(0)
    votes, confidences = np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32)
    base = np.zeros(3, np.float32)
    nodes, labels, scores = [], [], []
    for i, (first, second) in enumerate(PAIRS):
        weights = rng.standard_normal(4)
        nodes += [
            node(
                "LinearClassifier",
                ["x"],
                [f"label{i}", f"scores{i}"],
                domain="ai.onnx.ml",
                coefficients=[*-weights, *weights],
                intercepts=[0.0, 0.0],
                classlabels_ints=[0, 1],
            ),
            node("Reshape", [f"label{i}", "column"], [f"rows{i}"]),
            node("Cast", [f"rows{i}"], [f"vote{i}"], to=TensorProto.FLOAT),
            node("Slice", [f"scores{i}", "one", "two", "one"], [f"confidence{i}"]),
        ]
        labels.append(f"vote{i}")
        scores.append(f"confidence{i}")
        votes[i, [first, second]] = confidences[i, [first, second]] = -1, 1
        base[first] += 1
    nodes += [
        node("Concat", labels, ["all_votes"], axis=1),
        node("Concat", scores, ["all_confidences"], axis=1),
        node("MatMul", ["all_votes", "votes"], ["more"]),
        node("Add", ["more", "base"], ["counted"]),
        node("MatMul", ["all_confidences", "confidences"], ["sum"]),
        node("Abs", ["sum"], ["size"]),
        node("Add", ["size", "unit"], ["size_plus"]),
        node("Mul", ["size_plus", "three"], ["bound"]),
        node("Div", ["sum", "bound"], ["bounded"]),
        node("Add", ["counted", "bounded"], ["probabilities"]),
        node("ArgMax", ["probabilities"], ["winner"], axis=1),
        node("Squeeze", ["winner"], ["label"]),  # without axes, so its rank cannot be inferred
    ]
    constants = {
        **{"column": np.array([-1, 1]), "one": np.array([1]), "two": np.array([2]), "votes": votes, "base": base},
        **{"confidences": confidences, "unit": np.float32(1), "three": np.float32(3)},
    }
    graph = helper.make_graph(
        nodes,
        "one_versus_one",
        [info("x", TensorProto.FLOAT, ["N", 4])],
        [info("label", TensorProto.INT64, None), info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_a_label_without_declared_shape(tmp_path: Path) -> None:
    """onnxruntime lists no sizes for it, which is no other interface than the student's."""
    path = one_versus_one(tmp_path / "teacher.onnx")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == []
    teacher = load_teacher(path, input_range=(-2, 2))
    assert [label.name for label in teacher.labels] == ["label"]
    torch.manual_seed(0)
    exported = export_student(nn.Linear(4, 3), teacher, 18, torch.rand(10, 4))
    x = np.random.default_rng(1).random((6, 4)).astype(np.float32)
    label, scores = exported.student.run(None, {"x": x})
    np.testing.assert_array_equal(label, scores.argmax(1))
    assert label.shape == session.run(None, {"x": x})[0].shape
