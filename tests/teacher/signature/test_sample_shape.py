"""Examples for ``--input-shape`` fit the input, and work."""

from __future__ import annotations

import pytest
import torch
from onnx import NodeProto, helper

from tests.conftest import SaveModel
from zskd_onnx import UnsupportedTeacherError
from zskd_onnx.teacher.load import load_classifier

node = helper.make_node


def conv(shape: tuple[int, ...], before: list[NodeProto] | None = None) -> tuple[list[NodeProto], dict]:
    """A convolution with a kernel of this shape, pooling and a final layer."""
    nodes = [
        *(before or [node("Identity", ["x"], ["h"])]),
        node("Conv", ["h", "k"], ["c"]),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    return nodes, {"k": torch.randn(shape), "w": torch.randn(3, shape[0])}


def recurrent() -> tuple[list[NodeProto], dict]:
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("GRU", ["t", "W", "R"], ["", "h"], hidden_size=4),
        node("Squeeze", ["h", "first"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    weights = {"W": torch.randn(1, 12, 5), "R": torch.randn(1, 12, 4), "w": torch.randn(3, 4)}
    return nodes, {**weights, "first": torch.tensor([0])}


def vector() -> tuple[list[NodeProto], dict]:
    return [node("MatMul", ["x", "w"], ["y"])], {"w": torch.randn(7, 3)}


LAST = [node("Transpose", ["x"], ["h"], perm=[0, 3, 1, 2])]
SHAPES = {
    "sequence, open length": (conv((6, 40, 3)), ["N", 40, "time"], "40,100"),
    "sequence, channels last": (recurrent(), ["N", "time", 5], "100,5"),
    "sequence, all open": (recurrent(), ["N", "time", "F"], "100,5"),
    "image, open sides": (conv((4, 1, 3, 3)), ["N", 1, "H", "W"], "1,224,224"),
    "image, all open": (conv((4, 1, 3, 3)), ["N", "C", "H", "W"], "1,224,224"),
    "image, one side open": (conv((4, 3, 3, 3)), ["N", 3, 32, "W"], "3,32,224"),
    "image, channels last": (conv((4, 2, 3, 3), LAST), ["N", "H", "W", "C"], "224,224,2"),
    "volume": (conv((2, 1, 3, 3, 3)), ["N", 1, "D", "H", "W"], "1,16,16,16"),
    "vector": (vector(), ["N", "F"], "7"),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_example_fits_and_works(save_model: SaveModel, kind: str) -> None:
    (nodes, weights), shape, example = SHAPES[kind]
    path = save_model(nodes, shape, ["N", 3], weights)
    with pytest.raises(UnsupportedTeacherError, match="has open sizes") as caught:
        load_classifier(path)
    assert str(caught.value).rpartition("--input-shape ")[2] == example
    load_classifier(path, input_shape=tuple(map(int, example.split(","))))


def test_example_without_a_first_layer(save_model: SaveModel) -> None:
    nodes = [node("Relu", ["x"], ["r"]), node("Abs", ["r"], ["y"])]
    for shape, layout, example in (
        (["N", "F"], None, "13"),
        (["N", "a", "b", "c"], None, "3,224,224"),
        (["N", "a", "b", "c"], "NHWC", "224,224,3"),
    ):
        path = save_model(nodes, shape, shape)
        with pytest.raises(UnsupportedTeacherError, match=f"--input-shape {example}$"):
            load_classifier(path, layout=layout)


def test_example_without_a_rank(save_model: SaveModel) -> None:
    path = save_model(vector()[0], None, ["N", 3], vector()[1])
    with pytest.raises(UnsupportedTeacherError, match="13 for vectors or 3,224,224 for images"):
        load_classifier(path)
    assert load_classifier(path, input_shape=(7,)).domain.shape == (7,)
