"""Sizes that exporters write as -1, 0 or '?' are free."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper

from tests.conftest import SaveModel
from zskd_onnx import UnsupportedTeacherError, load_teacher
from zskd_onnx.importer.file.source import read_onnx_file
from zskd_onnx.system.onnx_runtime import run
from zskd_onnx.teacher.parity import open_onnx_file

node = helper.make_node
W = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [-1, 0, -7, "?", "-1", "None"])
def test_a_batch_without_size_is_free(save_model: SaveModel, batch: int | str) -> None:
    path = save_model([node("Gemm", ["x", "w"], ["y"], transB=1)], [batch, 4], [batch, 3], {"w": W})
    teacher = load_teacher(path)
    assert teacher.batch is None
    x = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    (reference,) = run(open_onnx_file(teacher.source, ["y"]), x)
    np.testing.assert_allclose(teacher(torch.from_numpy(x)).numpy(), reference, rtol=1e-5, atol=1e-6)


def test_sizes_without_number_are_two_different_sizes(save_model: SaveModel) -> None:
    """Paddle2ONNX's input [-1, 3, '?', '?'], which need not be square."""
    nodes = [
        node("Conv", ["x", "k"], ["c"]),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    weights = {"k": torch.ones(4, 3, 3, 3), "w": W}
    path = save_model(nodes, [-1, 3, "?", "?"], [-1, 3], weights, opset=13)
    with pytest.raises(UnsupportedTeacherError, match=r"--input-shape 3,224,224"):
        load_teacher(path)
    assert load_teacher(path, input_shape=(3, 8, 11)).domain.shape == (3, 8, 11)


def test_other_sizes_are_kept(save_model: SaveModel) -> None:
    path = save_model([node("Relu", ["x"], ["y"])], [2, "F"], [2, "F"])
    (value,) = read_onnx_file(path).proto.graph.input
    assert [(d.dim_value, d.dim_param) for d in value.type.tensor_type.shape.dim] == [(2, ""), (0, "F")]
