"""Sizes that follow from the input's shape are constants, also as the condition of an If."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import NodeProto, TensorProto, helper

from tests.conftest import SaveModel
from zskd_onnx import UnsupportedTeacherError
from zskd_onnx.teacher.load import load_classifier

node = helper.make_node
W = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
K = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1)) / 5


def number(value: int | list[int], name: str) -> NodeProto:
    tensor = onnx.numpy_helper.from_array(np.array(value), name)
    return node("Constant", [], [name], value=tensor)


def branch(op_type: str) -> onnx.GraphProto:
    """A branch that reads the features from the outer graph."""
    out = helper.make_tensor_value_info(f"{op_type}_out", TensorProto.FLOAT, None)
    return helper.make_graph([node(op_type, ["f"], [out.name])], op_type, [], [out])


CONDITIONS = {
    "Gather": ([number(3, "at"), node("Gather", ["sizes", "at"], ["left"])], 16),
    "Slice": ([number([3], "from"), number([4], "to"), node("Slice", ["sizes", "from", "to"], ["left"])], 16),
    "Shape with a start": ([node("Shape", ["x"], ["left"], start=3)], 16),
    "Shape with start and end": ([node("Shape", ["x"], ["left"], start=-2, end=-1)], 12),
    "rank": ([node("Size", ["sizes"], ["left"])], 4),
}


def on_a_shape(save_model: SaveModel, condition: list[NodeProto], right: int, shape: list[int | str]) -> Path:
    """A network that negates its features if the condition holds, and takes their exponential otherwise."""
    nodes = [
        node("Conv", ["x", "k"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Shape", ["x"], ["sizes"]),
        *condition,
        number(right, "right"),
        node("Equal", ["left", "right"], ["go"]),
        node("If", ["go"], ["g"], name="choice", then_branch=branch("Neg"), else_branch=branch("Exp")),
        node("Gemm", ["g", "w"], ["y"], transB=1),
    ]
    return save_model(nodes, shape, ["N", 3], {"k": K, "w": W})


@pytest.mark.parametrize("kind", CONDITIONS)
@pytest.mark.parametrize("holds", [True, False])
def test_if_on_a_shape_that_the_file_fixes(save_model: SaveModel, kind: str, holds: bool) -> None:
    condition, size = CONDITIONS[kind]
    path = on_a_shape(save_model, condition, size if holds else size + 1, ["N", 3, 12, 16])
    x = np.random.default_rng(0).random((5, 3, 12, 16)).astype(np.float32)
    (reference,) = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    classifier = load_classifier(path)
    np.testing.assert_allclose(classifier(torch.from_numpy(x)).numpy(), reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [16, 20])
def test_if_on_a_shape_that_an_option_gives(save_model: SaveModel, width: int) -> None:
    path = on_a_shape(save_model, CONDITIONS["Gather"][0], 16, ["N", 3, "H", "W"])
    x = np.random.default_rng(0).random((3, 3, 12, width)).astype(np.float32)
    (reference,) = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    classifier = load_classifier(path, input_shape=(3, 12, width))
    np.testing.assert_allclose(classifier(torch.from_numpy(x)).numpy(), reference, rtol=1e-4, atol=1e-5)


def test_if_inside_the_branch_of_another(save_model: SaveModel) -> None:
    """The inner condition reads a shape that is visible only after the outer branch is inlined."""
    inner = [
        node("Shape", ["x"], ["inner_sizes"]),
        number(2, "inner_at"),
        node("Gather", ["inner_sizes", "inner_at"], ["height"]),
        number(12, "twelve"),
        node("Equal", ["height", "twelve"], ["inner_go"]),
        node("If", ["inner_go"], ["inner_out"], then_branch=branch("Neg"), else_branch=branch("Exp")),
    ]
    out = helper.make_tensor_value_info("inner_out", TensorProto.FLOAT, None)
    path = on_a_shape(save_model, CONDITIONS["Gather"][0], 16, ["N", 3, 12, 16])
    model = onnx.load(path)
    outer = next(n for n in model.graph.node if n.name == "choice")
    next(a for a in outer.attribute if a.name == "then_branch").g.CopyFrom(helper.make_graph(inner, "b", [], [out]))
    onnx.save(model, path)
    x = np.random.default_rng(0).random((2, 3, 12, 16)).astype(np.float32)
    (reference,) = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_allclose(load_classifier(path)(torch.from_numpy(x)).numpy(), reference, rtol=1e-4, atol=1e-5)


def test_if_on_the_batch_size_is_refused(save_model: SaveModel) -> None:
    condition = [number(0, "at"), node("Gather", ["sizes", "at"], ["left"])]
    with pytest.raises(UnsupportedTeacherError, match=r"'choice' \(If\): its condition must be constant"):
        load_classifier(on_a_shape(save_model, condition, 1, ["N", 3, 12, 16]))
