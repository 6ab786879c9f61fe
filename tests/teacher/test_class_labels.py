"""Class names and outputs of labels: read from the teacher's file, reproduced by the student."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import SMALL
from zskd_onnx import UnsupportedTeacherError, compress, load_teacher
from zskd_onnx.system.onnx_runtime import open_session

TINY = [*SMALL, "synthesis.iterations=1"]
W = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
ML = "ai.onnx.ml"
node = helper.make_node
info = helper.make_tensor_value_info


def classifier(
    path: Path,
    names: Sequence[int] | Sequence[str],
    *,
    zipped: bool = False,
    ending: str = "Softmax",
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a classifier with a label output before its probabilities, as scikit-learn's converter does."""
    are_strings = isinstance(names[0], str)
    weight = W if ending == "Softmax" else W[:1]
    nodes = [node("Relu", ["x"], ["h"]), node("Gemm", ["h", "w"], ["z"], transB=1), node(ending, ["z"], ["s"])]
    if ending == "Softmax":
        nodes.append(node("Identity", ["s"], ["p"]))
    else:
        nodes += [node("Sub", ["one", "s"], ["complement"]), node("Concat", ["complement", "s"], ["p"], axis=1)]
    nodes += [
        node("ArgMax", ["p"], ["predicted"], axis=1, keepdims=0),
        node("ArrayFeatureExtractor", ["names", "predicted"], ["row"], domain=ML),
        node("Reshape", ["row", "flat"], ["label"]),
    ]
    probabilities = info("p", TensorProto.FLOAT, ["N", len(names)])
    if zipped:
        keys = {"classlabels_strings" if are_strings else "classlabels_int64s": list(names)}
        nodes.append(node("ZipMap", ["p"], ["map"], domain=ML, **keys))
        kind = helper.make_map_type_proto(
            TensorProto.STRING if are_strings else TensorProto.INT64,
            helper.make_tensor_type_proto(TensorProto.FLOAT, []),
        )
        probabilities = helper.make_value_info("map", helper.make_sequence_type_proto(kind))
    kind = TensorProto.STRING if are_strings else TensorProto.INT64
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ["N", 4])],
        [info("label", kind, ["N"]), probabilities],
        [
            numpy_helper.from_array(weight.numpy(), "w"),
            numpy_helper.from_array(np.array(names, dtype=object if are_strings else np.int64), "names"),
            numpy_helper.from_array(np.array([-1]), "flat"),
            numpy_helper.from_array(np.ones(1, dtype=np.float32), "one"),
        ],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("names", [(0, 1, 2), (7, 3, 5), ("cat", "dog", "eel")])
def test_label_output_is_found(tmp_path: Path, names: Sequence[int] | Sequence[str]) -> None:
    teacher = load_teacher(classifier(tmp_path / "t.onnx", names))
    (label,) = teacher.labels
    assert (label.name, label.names, label.shape) == ("label", names, ())
    assert teacher.class_names == (None if names == (0, 1, 2) else tuple(map(str, names)))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("ending", ["Softmax", "Sigmoid"])
@pytest.mark.parametrize("names", [(3, 5, 7), ("cat", "dog", "eel")])
def test_student_has_the_outputs_of_the_teacher(
    tmp_path: Path, names: Sequence[int] | Sequence[str], ending: str, zipped: bool
) -> None:
    names = names if ending == "Softmax" else names[:2]
    path = classifier(tmp_path / "t.onnx", names, zipped=zipped, ending=ending)
    result = compress(path, tmp_path / "out", overrides=TINY, student="mlp-small")
    student, teacher = open_session(result.student), open_session(path)
    assert [(o.name, o.type) for o in student.get_outputs()] == [(o.name, o.type) for o in teacher.get_outputs()]
    x = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    labels, values = student.run(None, {"x": x})
    rows = [row if zipped else dict(zip(names, row, strict=True)) for row in values]
    assert [max(row, key=lambda key, row=row: row[key]) for row in rows] == list(labels)
    assert set(labels) <= set(names)
    reloaded, original = load_teacher(result.student), load_teacher(path)
    assert (reloaded.labels, reloaded.zipped) == (original.labels, original.zipped)


def test_class_names_from_metadata(tmp_path: Path) -> None:
    names = ["one", "two", "three"]
    path = classifier(tmp_path / "a.onnx", (0, 1, 2), metadata={"zskd.classes": json.dumps(names)})
    assert load_teacher(path).class_names == tuple(names)
    path = classifier(tmp_path / "b.onnx", (0, 1, 2), metadata={"names": "{0: 'a', 2: 'c', 1: 'b'}"})
    assert load_teacher(path).class_names == ("a", "b", "c")
    path = classifier(tmp_path / "c.onnx", (0, 1, 2), metadata={"names": "__import__('os').abort()"})
    assert load_teacher(path).class_names is None
    path = classifier(tmp_path / "d.onnx", (0, 1, 2), metadata={"zskd.classes": '["one"]'})
    with pytest.raises(UnsupportedTeacherError, match="list of 3 names"):
        load_teacher(path)


def test_unsorted_zipmap_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTeacherError, match="not sorted"):
        load_teacher(classifier(tmp_path / "t.onnx", (5, 3, 7), zipped=True))


def test_output_with_the_label_of_another_class_is_ignored(tmp_path: Path) -> None:
    """The output holds the label of the smallest value. The student leaves it out, with a note."""
    path = classifier(tmp_path / "t.onnx", (0, 1, 2))
    model = onnx.load(path)
    (argmax,) = [n for n in model.graph.node if n.op_type == "ArgMax"]
    argmax.op_type = "ArgMin"
    onnx.save(model, path)
    assert load_teacher(path).labels == ()
    result = compress(path, tmp_path / "out", overrides=TINY, student="mlp-small")
    assert any("will not have: label" in note for note in result.notes)


def test_output_in_a_sequence(tmp_path: Path) -> None:
    nodes = [node("Gemm", ["x", "w"], ["z"], transB=1), node("SequenceConstruct", ["z"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(W.numpy(), "w")],
    )
    path = tmp_path / "t.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    assert load_teacher(path).output.kind == "logits"
    result = compress(path, tmp_path / "out", overrides=TINY, student="mlp-small")
    (student,), (teacher,) = (open_session(p).get_outputs() for p in (result.student, path))
    assert (student.name, student.type) == (teacher.name, teacher.type)
