"""The output with the classes: which one it is, the kind of its values, and the head behind it.

``load_teacher`` itself compares output, scores and logits with onnxruntime. These tests check the
number of classes, the kind of the output, and the weights of the head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, TensorProto, helper
from torch import Tensor

from zskd_onnx import UnsupportedTeacherError, UsageError, load_teacher
from zskd_onnx.system.onnx_runtime import open_session, run
from zskd_onnx.teacher.teacher import Teacher

G = torch.Generator().manual_seed(0)
W = torch.randn(3, 4, generator=G)
B = torch.randn(3, generator=G)
ROW = torch.randn(1, 4, generator=G)
node = helper.make_node
info = helper.make_tensor_value_info
ML = "ai.onnx.ml"

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a model with one input (N, 4) and outputs of any type."""

    def write(
        nodes: list[NodeProto], outputs: Sequence[onnx.ValueInfoProto], weights: dict[str, Tensor] | None = None
    ) -> Path:
        initialisers = [onnx.numpy_helper.from_array(w.numpy(), name) for name, w in (weights or {}).items()]
        graph = helper.make_graph(nodes, "g", [info("x", TensorProto.FLOAT, ["N", 4])], outputs, initialisers)
        imports = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 1)]
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
        return path

    return write


def floats(name: str, *shape: int) -> onnx.ValueInfoProto:
    """An output of floats, (N, *shape)."""
    return info(name, TensorProto.FLOAT, ["N", *shape])


def maps(name: str) -> onnx.ValueInfoProto:
    """An output of maps from class to probability, as ZipMap has it."""
    kind = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    return helper.make_value_info(name, helper.make_sequence_type_proto(kind))


def classifier(rows: Tensor, bias: Tensor, transform: str, labels: Sequence[int]) -> NodeProto:
    """A LinearClassifier of x."""
    return node(
        "LinearClassifier",
        ["x"],
        ["label", "scores"],
        domain=ML,
        coefficients=rows.flatten().tolist(),
        intercepts=bias.tolist(),
        classlabels_ints=labels,
        post_transform=transform,
        multi_class=1,
    )


def probabilities(teacher: Teacher, path: Path) -> tuple[Tensor, Tensor]:
    """Softmax of the teacher's logits, and onnxruntime's values of the output, for the same samples."""
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    (values,) = run(open_session(path), x.numpy(), [teacher.output.name])
    return teacher.logits(x).softmax(1), torch.from_numpy(values)


@pytest.mark.parametrize("shape", [(1,), ()])
def test_one_sigmoid_stands_for_two_classes(save: Save, shape: tuple[int, ...]) -> None:
    nodes = [
        node("Gemm", ["x", "w", "b"], ["z"], transB=1),
        node("Reshape", ["z", "shape"], ["r"]),
        node("Sigmoid", ["r"], ["y"]),
    ]
    weights = {"w": ROW, "b": B[:1], "shape": torch.tensor([-1, *shape])}
    path = save(nodes, [floats("y", *shape)], weights)
    teacher = load_teacher(path)
    assert (teacher.classes, teacher.output.kind, teacher.output.shape) == (2, "sigmoid", shape)
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight[1] - teacher.head.weight[0], ROW[0])
    torch.testing.assert_close(teacher.head.weight.sum(0), torch.zeros(4))
    computed, expected = probabilities(teacher, path)
    torch.testing.assert_close(computed[:, 1], expected.flatten())


@pytest.mark.parametrize("order", [["complement", "s"], ["s", "complement"]])
def test_sigmoid_and_its_complement(save: Save, order: list[str]) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["p"]),
        node("Add", ["p", "b"], ["z"]),
        node("Sigmoid", ["z"], ["s"]),
        node("Sub", ["one", "s"], ["complement"]),
        node("Concat", order, ["y"], axis=1),
    ]
    path = save(nodes, [floats("y", 2)], {"w": ROW.T.contiguous(), "b": B[:1], "one": torch.ones(1)})
    teacher = load_teacher(path)
    assert (teacher.classes, teacher.output.kind) == (2, "softmax")
    assert teacher.head is not None
    positive = order.index("s")
    torch.testing.assert_close(teacher.head.weight[positive] - teacher.head.weight[1 - positive], ROW[0])
    torch.testing.assert_close(*probabilities(teacher, path))


@pytest.mark.parametrize("zipped", [False, True])
def test_linear_classifier_with_softmax(save: Save, zipped: bool) -> None:
    """scikit-learn's converter writes a label, a Normalizer, and on request a ZipMap."""
    nodes = [classifier(W, B, "SOFTMAX", [5, 6, 7]), node("Normalizer", ["scores"], ["y"], domain=ML, norm="L1")]
    outputs = [info("label", TensorProto.INT64, ["N"]), floats("y", 3)]
    if zipped:
        nodes.append(node("ZipMap", ["y"], ["zipped"], domain=ML, classlabels_int64s=[5, 6, 7]))
        outputs[1] = maps("zipped")
    path = save(nodes, outputs)
    teacher = load_teacher(path)
    assert (teacher.output.name, teacher.output.kind) == ("zipped" if zipped else "y", "softmax")
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, W)
    torch.testing.assert_close(teacher.head.bias, B)
    torch.testing.assert_close(*probabilities(teacher, path))


@pytest.mark.parametrize("rows", [1, 2])
def test_linear_classifier_of_two_classes(save: Save, rows: int) -> None:
    """Two opposite rows, as scikit-learn's converter writes them, or a single row."""
    weight, bias = (ROW, B[:1]) if rows == 1 else (torch.cat([-ROW, ROW]), torch.cat([-B[:1], B[:1]]))
    path = save([classifier(weight, bias, "LOGISTIC", [0, 1])], [floats("scores", 2)])
    teacher = load_teacher(path)
    assert (teacher.classes, teacher.output.kind) == (2, "softmax")
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight[1] - teacher.head.weight[0], ROW[0])
    torch.testing.assert_close(*probabilities(teacher, path))


def test_opposite_rows_with_unequal_biases_are_multi_label(save: Save) -> None:
    nodes = [node("Gemm", ["x", "w", "b"], ["z"], transB=1), node("Sigmoid", ["z"], ["y"])]
    with pytest.raises(UnsupportedTeacherError, match="multi-label"):
        load_teacher(save(nodes, [floats("y", 2)], {"w": torch.cat([-ROW, ROW]), "b": torch.tensor([1.0, 2.0])}))


def test_one_vs_rest(save: Save) -> None:
    nodes = [
        classifier(W, B, "LOGISTIC", [0, 1, 2]),
        node("Normalizer", ["scores"], ["y"], domain=ML, norm="L1"),
    ]
    path = save(nodes, [floats("y", 3)])
    teacher = load_teacher(path)
    assert teacher.output.kind == "normalized_sigmoid"
    x = torch.randn(6, 4)
    (values,) = run(open_session(path), x.numpy())
    np.testing.assert_array_equal(teacher.logits(x).argmax(1), values.argmax(1))
    torch.testing.assert_close(teacher.output.from_logits(teacher.logits(x)), torch.from_numpy(values))


def test_multi_label_output_is_refused(save: Save) -> None:
    nodes = [node("Gemm", ["x", "w"], ["z"], transB=1), node("Sigmoid", ["z"], ["y"])]
    with pytest.raises(UnsupportedTeacherError, match="multi-label"):
        load_teacher(save(nodes, [floats("y", 3)], {"w": W}))


def test_one_logit_without_sigmoid_is_refused(save: Save) -> None:
    with pytest.raises(UnsupportedTeacherError, match="must end in a sigmoid"):
        load_teacher(save([node("Gemm", ["x", "w"], ["y"], transB=1)], [floats("y", 1)], {"w": ROW}))


def test_probabilities_without_a_softmax_operator(save: Save) -> None:
    """The graph computes a softmax from other operators, so only the values show that they are probabilities."""
    nodes = [
        node("Gemm", ["x", "w"], ["z"], transB=1),
        node("Exp", ["z"], ["e"]),
        node("ReduceSum", ["e", "axis"], ["sum"], keepdims=1),
        node("Div", ["e", "sum"], ["y"]),
    ]
    path = save(nodes, [floats("y", 3)], {"w": W, "axis": torch.tensor([1])})
    teacher = load_teacher(path)
    assert (teacher.output.kind, teacher.head) == ("probabilities", None)
    torch.testing.assert_close(*probabilities(teacher, path))


def test_logits_beside_features(save: Save) -> None:
    """The output behind a final layer holds the classes, unless ``output_name`` names another."""
    nodes = [node("Relu", ["x"], ["h"]), node("Gemm", ["h", "w", "b"], ["y"], transB=1)]
    path = save(nodes, [floats("h", 4), floats("y", 3)], {"w": W, "b": B})
    assert load_teacher(path).output.name == "y"
    assert load_teacher(path, output_name="h").classes == 4
    with pytest.raises(UsageError, match="'h', 'y'"):
        load_teacher(path, output_name="z")


def test_logits_beside_probabilities(save: Save) -> None:
    nodes = [node("Gemm", ["x", "w", "b"], ["z"], transB=1), node("Softmax", ["z"], ["p"], axis=1)]
    path = save(nodes, [floats("p", 3), floats("z", 3)], {"w": W, "b": B})
    assert load_teacher(path).output.kind == "softmax"
    assert load_teacher(path, output_name="z").output.kind == "logits"


def test_two_heads_need_output_name(save: Save) -> None:
    nodes = [node("Gemm", ["x", name], [f"y{name}"], transB=1) for name in ("v", "w")]
    path = save(nodes, [floats("yv", 3), floats("yw", 3)], {"v": W, "w": 2 * W})
    with pytest.raises(UnsupportedTeacherError, match="--output-name"):
        load_teacher(path)
    teacher = load_teacher(path, output_name="yw")
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, 2 * W)


def test_tree_ensemble_is_refused(save: Save) -> None:
    tree = node("TreeEnsembleClassifier", ["x"], ["label", "y"], domain=ML)
    with pytest.raises(UnsupportedTeacherError, match="no gradient"):
        load_teacher(save([tree], [floats("y", 2)]))
