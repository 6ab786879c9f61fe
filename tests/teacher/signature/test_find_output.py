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

from tests.conftest import SMALL
from zskd_onnx import UnsupportedTeacherError, UsageError, compress, inspect, load_teacher
from zskd_onnx.pipeline.plan import prepare
from zskd_onnx.system.onnx_runtime import open_session, run
from zskd_onnx.teacher.teacher import Teacher

G = torch.Generator().manual_seed(0)
W = torch.randn(3, 4, generator=G)
B = torch.randn(3, generator=G)
ROW = torch.randn(1, 4, generator=G)
node = helper.make_node
TINY = [*SMALL, "synthesis.iterations=1", "distillation.epochs=1"]
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


PROBABILITIES = [
    node("Relu", ["x"], ["h"]),
    node("Gemm", ["h", "w", "b"], ["z"], transB=1),
    node("Softmax", ["z"], ["p"], axis=1),
]


def test_one_softmax_among_several_outputs_is_chosen_with_a_note(save: Save) -> None:
    """The other output is an embedding, which a fully connected layer computes too."""
    nodes = [*PROBABILITIES, node("Gemm", ["x", "w"], ["e"], transB=1)]
    path = save(nodes, [floats("e", 3), floats("p", 3)], {"w": W, "b": B})
    teacher = load_teacher(path)
    assert teacher.output.name == "p"
    (note,) = teacher.output.notes
    assert "'p' is taken for the classes" in note
    assert "('e'), give --output-name" in note
    assert note in inspect(path).outputs["p"]
    assert note in prepare(path, recipe="zskd", student="mlp-small").notes
    assert load_teacher(path, output_name="e").output.notes == ()


def test_softmax_without_a_head_is_chosen_among_several_outputs(save: Save) -> None:
    nodes = [node("Tanh", ["x"], ["t"]), node("Softmax", ["t"], ["p"], axis=1), node("Relu", ["x"], ["r"])]
    teacher = load_teacher(save(nodes, [floats("r", 4), floats("p", 4)]))
    assert (teacher.output.name, teacher.head) == ("p", None)


def test_softmax_of_attention_does_not_outrank_the_final_layer(save: Save) -> None:
    nodes = [node("Softmax", ["x"], ["a"], axis=1), node("Gemm", ["a", "w", "b"], ["y"], transB=1)]
    assert load_teacher(save(nodes, [floats("a", 4), floats("y", 3)], {"w": W, "b": B})).output.name == "y"


def test_file_without_scores_is_refused_without_mention_of_output_name(save: Save) -> None:
    nodes = [*PROBABILITIES, node("ArgMax", ["p"], ["y"], axis=1)]
    with pytest.raises(UnsupportedTeacherError, match="export the model with its scores") as refused:
        load_teacher(save(nodes, [info("y", TensorProto.INT64, ["N", 1])], {"w": W, "b": B}))
    assert "--output-name" not in str(refused.value)


TOP = [*PROBABILITIES, node("TopK", ["p", "k"], ["top", "index"])]
INDEX = info("index", TensorProto.INT64, ["N", 2])


@pytest.mark.parametrize("options", [{}, {"output_name": "top"}])
def test_sorted_scores_are_refused(save: Save, options: dict[str, str]) -> None:
    path = save(TOP, [floats("top", 2), INDEX], {"w": W, "b": B, "k": torch.tensor([2])})
    with pytest.raises(UnsupportedTeacherError, match="sorted scores"):
        load_teacher(path, **options)


def test_scores_picked_by_a_sorted_index_are_refused(save: Save) -> None:
    nodes = [*TOP, node("GatherElements", ["p", "index"], ["y"], axis=1)]
    with pytest.raises(UnsupportedTeacherError, match="sorted scores"):
        load_teacher(save(nodes, [floats("y", 2)], {"w": W, "b": B, "k": torch.tensor([2])}))


def test_scores_beside_sorted_scores_are_chosen(save: Save) -> None:
    path = save(TOP, [floats("top", 2), INDEX, floats("p", 3)], {"w": W, "b": B, "k": torch.tensor([2])})
    assert load_teacher(path).output.name == "p"


def one_label(i: int) -> list[NodeProto]:
    """scikit-learn's classifier of one label, with the probabilities (N, 2) of its absence and presence."""
    row = torch.randn(4, generator=torch.Generator().manual_seed(i))
    scores = classifier(torch.stack([-row, row]), torch.tensor([-0.5, 0.5]), "LOGISTIC", [0, 1])
    scores.output[:] = [f"label{i}", f"scores{i}"]
    return [scores, node("Normalizer", [f"scores{i}"], [f"p{i}"], domain=ML, norm="L1")]


LABELS = [part for i in range(3) for part in one_label(i)]


def test_multi_output_classifier_is_refused(save: Save) -> None:
    """scikit-learn's converter writes a sequence of tables, one for each label."""
    nodes = [*LABELS, node("SequenceConstruct", ["p0", "p1", "p2"], ["y"])]
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["N", 2])
    with pytest.raises(UnsupportedTeacherError, match=r"a sequence of 3 tables.*multi-label"):
        load_teacher(save(nodes, [output]))


def test_one_vs_rest_on_several_labels_is_refused(save: Save) -> None:
    """scikit-learn's converter puts the second columns of all classifiers side by side."""
    columns = [node("Slice", [f"p{i}", "one", "two", "one"], [f"c{i}"]) for i in range(3)]
    nodes = [*LABELS, *columns, node("Concat", ["c0", "c1", "c2"], ["y"], axis=1)]
    with pytest.raises(UnsupportedTeacherError, match="multi-label"):
        load_teacher(save(nodes, [floats("y", 3)], {"one": torch.tensor([1]), "two": torch.tensor([2])}))


def test_labels_whose_probabilities_happen_to_sum_to_one_are_refused(save: Save) -> None:
    """The first two labels exclude each other, and the third one hardly ever holds."""
    columns = [
        node("Slice", ["p0", "zero", "two", "one"], ["c0"]),
        node("Sub", ["number", "p1"], ["complement"]),
        node("Clip", ["complement", "", "tiny"], ["clipped"]),
        node("Slice", ["clipped", "zero", "one", "one"], ["c1"]),
    ]
    nodes = [*one_label(0), *one_label(1), *columns, node("Concat", ["c0", "c1"], ["y"], axis=1)]
    bounds = {"zero": torch.tensor([0]), "one": torch.tensor([1]), "two": torch.tensor([2])}
    weights = {**bounds, "number": torch.ones(1), "tiny": torch.tensor(1e-6)}
    with pytest.raises(UnsupportedTeacherError, match="multi-label"):
        load_teacher(save(nodes, [floats("y", 3)], weights))


def test_normalised_sigmoids_side_by_side_are_exclusive(save: Save) -> None:
    columns = [node("Slice", [f"p{i}", "one", "two", "one"], [f"c{i}"]) for i in range(3)]
    concat = node("Concat", ["c0", "c1", "c2"], ["c"], axis=1)
    nodes = [*LABELS, *columns, concat, node("Normalizer", ["c"], ["y"], domain=ML, norm="L1")]
    path = save(nodes, [floats("y", 3)], {"one": torch.tensor([1]), "two": torch.tensor([2])})
    assert load_teacher(path).output.kind == "probabilities"


def mean_of_sigmoids(save: Save, labels: int) -> Path:
    """A file whose probabilities are means of sigmoids over the four positions of a sequence."""
    nodes = [
        node("Unsqueeze", ["x", "axis"], ["u"]),
        node("Conv", ["u", "k"], ["c"]),
        node("Sigmoid", ["c"], ["s"]),
        node("ReduceMean", ["s"], ["y"], axes=[2], keepdims=0),
    ]
    weights = {"axis": torch.tensor([1]), "k": torch.randn(labels, 1, 1, generator=torch.Generator().manual_seed(0))}
    return save(nodes, [floats("y", labels)], weights)


def test_mean_of_sigmoids_is_a_probability(save: Save, tmp_path: Path) -> None:
    path = mean_of_sigmoids(save, 1)
    teacher = load_teacher(path)
    assert (teacher.output.kind, teacher.classes, teacher.head) == ("sigmoid", 2, None)
    computed, expected = probabilities(teacher, path)
    torch.testing.assert_close(computed[:, 1], expected.flatten())
    result = compress(
        path, tmp_path / "run", recipe="zskd-uniform", overrides=TINY, input_range=(-1, 1), student="mlp-small"
    )
    (values,) = run(open_session(result.student), torch.randn(6, 4).numpy())
    assert values.shape == (6, 1)
    assert ((values >= 0) & (values <= 1)).all()


def test_means_of_sigmoids_are_multi_label(save: Save) -> None:
    with pytest.raises(UnsupportedTeacherError, match="multi-label"):
        load_teacher(mean_of_sigmoids(save, 3))


def test_values_that_look_like_independent_probabilities_are_doubted(save: Save) -> None:
    """A sigmoid of other operators: only the values show that they may be probabilities of labels."""
    nodes = [
        node("Gemm", ["x", "w"], ["z"], transB=1),
        node("Exp", ["z"], ["e"]),
        node("Add", ["e", "one"], ["d"]),
        node("Div", ["e", "d"], ["y"]),
    ]
    (note,) = load_teacher(save(nodes, [floats("y", 3)], {"w": W, "one": torch.ones(1)})).output.notes
    assert "multi-label" in note
