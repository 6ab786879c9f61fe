"""Teachers whose scores have no gradient in the input are refused; others are not."""

from __future__ import annotations

import pytest
import torch
from onnx import NodeProto, TensorProto, helper

from tests.conftest import SaveModel
from zskd_onnx import UnsupportedTeacherError, load_teacher
from zskd_onnx.teacher.load import load_classifier

node = helper.make_node
G = torch.Generator().manual_seed(0)
LAYERS = [
    node("Gemm", ["v", "w", "b"], ["h"], transB=1),
    node("Relu", ["h"], ["r"]),
    node("Gemm", ["r", "w2"], ["y"], transB=1),
]
WEIGHTS = {"w": torch.randn(8, 4, generator=G), "b": torch.randn(8, generator=G), "w2": torch.randn(3, 8, generator=G)}

WITHOUT = {
    "token ids": (
        [
            node("Cast", ["x"], ["i"], to=TensorProto.INT64),
            node("Gather", ["E", "i"], ["e"]),
            node("Flatten", ["e"], ["v"]),
        ],
        {"E": torch.randn(9, 1, generator=G)},
        r"node 'i' \(Cast\): it makes integers of the input, which node 'e' \(Gather\) looks up",
    ),
    "integers": (
        [node("Cast", ["x"], ["i"], to=TensorProto.INT32), node("Cast", ["i"], ["v"], to=TensorProto.FLOAT)],
        {},
        r"node 'i' \(Cast\): its result has no gradient",
    ),
    "rounded": ([node("Round", ["x"], ["v"])], {}, r"node 'v' \(Round\): it makes the scores constant"),
}
WITH = {
    "dead units": ([node("Identity", ["x"], ["v"])], {"b": torch.full((8,), -1e6)}),
    "a mask": (
        [node("Greater", ["x", "z"], ["m"]), node("Cast", ["m"], ["c"], to=1), node("Mul", ["x", "c"], ["v"])],
        {"z": torch.tensor(0.0)},
    ),
    "a rounded part": ([node("Round", ["x"], ["q"]), node("Add", ["x", "q"], ["v"])], {}),
    "quantised": (
        [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["v"])],
        {"s": torch.tensor(0.02)},
    ),
}


@pytest.mark.parametrize("kind", WITHOUT)
def test_without_gradient(save_model: SaveModel, kind: str) -> None:
    nodes, weights, message = WITHOUT[kind]
    path = save_model([*nodes, *LAYERS], ["N", 4], ["N", 3], {**WEIGHTS, **weights})
    with pytest.raises(UnsupportedTeacherError, match=message):
        load_teacher(path, input_range=(0, 8))
    load_classifier(path, input_range=(0, 8))  # a student may round


@pytest.mark.parametrize("kind", WITH)
def test_with_gradient(save_model: SaveModel, kind: str) -> None:
    nodes: list[NodeProto] = WITH[kind][0]
    load_teacher(save_model([*nodes, *LAYERS], ["N", 4], ["N", 3], {**WEIGHTS, **WITH[kind][1]}), input_range=(0, 1))
