"""Refusals of inputs that are several or have no gradient, and whether their advice works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from zskd_onnx import UnsupportedTeacherError, load_teacher

node, info = helper.make_node, helper.make_tensor_value_info
COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
W = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).numpy()
HEAD = node("Gemm", ["v", "w"], ["y"], transB=1)


def save(path: Path, nodes: list[NodeProto], inputs: list[onnx.ValueInfoProto], **weights: np.ndarray) -> Path:
    tensors = [numpy_helper.from_array(w, name) for name, w in {"w": W, **weights}.items()]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", TensorProto.FLOAT, ["N", 3])], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UnsupportedTeacherError) as caught:
        load_teacher(path)
    return str(caught.value)


@pytest.fixture
def columns(tmp_path: Path) -> Path:
    """One input a column, as skl2onnx writes a pipeline on a pandas table."""
    inputs = [info(name, TensorProto.FLOAT, ["N", 1]) for name in COLUMNS]
    return save(tmp_path / "columns.onnx", [node("Concat", list(COLUMNS), ["v"], axis=1), HEAD], inputs)


def test_one_input_a_column(columns: Path) -> None:
    message = refusal(columns)
    assert "one input for each of 4 columns ('sepal_length'" in message
    assert "FloatTensorType([None, 4])" in message
    assert "Split(x, axis=1)" in message


def test_columns_packed_as_the_message_says(columns: Path) -> None:
    model = onnx.load(columns)
    del model.graph.input[:]
    model.graph.input.append(info("x", TensorProto.FLOAT, ["N", 4]))
    model.graph.node.insert(0, node("Split", ["x"], list(COLUMNS), axis=1))
    packed = columns.with_name("packed.onnx")
    onnx.save(model, packed)
    x = np.random.default_rng(0).random((6, 4)).astype(np.float32)
    feeds = {name: x[:, i : i + 1] for i, name in enumerate(COLUMNS)}
    (reference,) = ort.InferenceSession(str(columns), providers=["CPUExecutionProvider"]).run(None, feeds)
    np.testing.assert_allclose(load_teacher(packed)(torch.from_numpy(x)).numpy(), reference, rtol=1e-5, atol=1e-6)


def test_a_column_of_text(columns: Path) -> None:
    model = onnx.load(columns)
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.STRING
    onnx.save(model, columns)
    assert "'sepal_width' holds text" in refusal(columns)


def test_the_only_input_that_can_hold_samples_is_named(tmp_path: Path) -> None:
    nodes = [node("Cast", ["m"], ["f"], to=TensorProto.FLOAT), node("Mul", ["x", "f"], ["v"]), HEAD]
    inputs = [info("m", TensorProto.INT64, ["N", 4]), info("x", TensorProto.FLOAT, ["N", 4])]
    path = save(tmp_path / "mask.onnx", nodes, inputs)
    message = refusal(path)
    assert "keep 'x'" in message
    assert message.endswith("--fix m=VALUE")
    load_teacher(path, fix={"m": 1})


def test_integer_features_are_no_token_ids(tmp_path: Path) -> None:
    nodes = [node("Cast", ["x"], ["v"], to=TensorProto.FLOAT), HEAD]
    path = save(tmp_path / "integers.onnx", nodes, [info("x", TensorProto.INT64, ["N", 4])])
    message = refusal(path)
    assert "token" not in message
    assert "float32 input" in message
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, path)
    load_teacher(path)


@pytest.mark.parametrize("before", ["Gather", "Cast"])
def test_token_ids(tmp_path: Path, before: str) -> None:
    nodes = [node("Gather", ["E", "x"], ["e"], name="lookup"), node("Flatten", ["e"], ["v"]), HEAD]
    kind = TensorProto.INT64
    if before == "Cast":
        nodes[:1] = [
            node("Cast", ["x"], ["i"], to=TensorProto.INT64),
            node("Gather", ["E", "i"], ["e"], name="lookup"),
        ]
        kind = TensorProto.INT32
    path = save(tmp_path / "tokens.onnx", nodes, [info("x", kind, ["N", 4])], E=np.ones((9, 1), dtype=np.float32))
    assert "token ids, which node 'lookup' (Gather) looks up" in refusal(path)
