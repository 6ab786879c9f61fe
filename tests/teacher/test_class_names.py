"""Class names come from metadata and labels, and from no other constant of the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tests.conftest import SaveModel
from zskd_onnx import load_teacher

W = torch.randn(4, 196, generator=torch.Generator().manual_seed(0))
ML = "ai.onnx.ml"
node = helper.make_node
info = helper.make_tensor_value_info
SCORES = node("Gemm", ["x", "w"], ["y"], transB=1)


@pytest.mark.parametrize("classes", [2, 4])
def test_shape_with_a_size_for_each_class_is_no_list_of_names(save_model: SaveModel, classes: int) -> None:
    shape = [-1, 196] if classes == 2 else [-1, 1, 14, 14]
    nodes = [
        node("Reshape", ["x", "shape"], ["r"]),
        node("Flatten", ["r"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    weights = {"shape": torch.tensor(shape), "w": W[:classes].contiguous()}
    path = save_model(nodes, ["N", 1, 14, 14], ["N", classes], weights)
    assert load_teacher(path).class_names is None


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"character": "0\n90\n180\n270"}, ("0", "90", "180", "270")),
        ({"character": "a\r\nb\r\n \r\nd\r\n"}, ("a", "b", " ", "d")),
        ({"character": "a\nb\nc"}, None),
        ({"names": "['a', 'b', 'c', 'd']"}, ("a", "b", "c", "d")),
        ({"names": "{0: 'a', 'x': 'b', 2: 'c', 3: 'd'}"}, None),
    ],
)
def test_names_from_metadata(save_model: SaveModel, metadata: dict[str, str], expected: tuple[str, ...] | None) -> None:
    path = save_model([SCORES], ["N", 196], ["N", 4], {"w": W}, metadata=metadata)
    assert load_teacher(path).class_names == expected


def save_labels(path: Path, look_up: list[NodeProto], kind: int, constants: dict[str, np.ndarray]) -> Path:
    """Write a classifier with an output ``label`` that nodes compute from the number of the predicted class."""
    nodes = [SCORES, node("ArgMax", ["y"], ["number"], axis=1, keepdims=0), *look_up]
    weights = {"w": W.numpy(), "shape": np.array([-1, 1, 14, 14]), **constants}
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ["N", 196])],
        [info("label", kind, ["N"]), info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 2)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


STRINGS = np.array(["a", "b", "c", "d"], dtype=object)
ENCODER = node("LabelEncoder", ["number"], ["label"], domain=ML, keys_int64s=[3, 2, 1, 0], values_strings=list("dcba"))
CHAINED = [
    node("Gather", ["codes", "number"], ["code"]),
    node("LabelEncoder", ["code"], ["label"], domain=ML, keys_int64s=[5, 6, 7, 8, 9], values_strings=list("abxcd")),
]
CONSTANT = node("Constant", [], ["names"], value_strings=["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("look_up", "constants"),
    [
        ([node("Gather", ["names", "number"], ["label"])], {"names": STRINGS}),
        ([CONSTANT, node("Gather", ["names", "number"], ["label"])], {}),
        ([ENCODER], {}),
        (CHAINED, {"codes": np.array([5, 6, 8, 9])}),
    ],
    ids=["gather", "constant", "encoder", "chain"],
)
def test_names_from_a_label_output(tmp_path: Path, look_up: list[NodeProto], constants: dict[str, np.ndarray]) -> None:
    path = save_labels(tmp_path / "t.onnx", look_up, TensorProto.STRING, constants)
    teacher = load_teacher(path)
    assert teacher.class_names == ("a", "b", "c", "d")
    (label,) = teacher.labels
    assert label.names == ("a", "b", "c", "d")


def test_numbers_in_a_label_output(tmp_path: Path) -> None:
    """The unused constant of the same length is no list of names."""
    look_up = [node("Gather", ["codes", "number"], ["label"])]
    path = save_labels(tmp_path / "t.onnx", look_up, TensorProto.INT64, {"codes": np.array([10, 30, 20, 40])})
    assert load_teacher(path).class_names == ("10", "30", "20", "40")
