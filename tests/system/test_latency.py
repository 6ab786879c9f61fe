"""Measured latencies."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from zskd_onnx.system.latency import latency_conditions, median_latency


def product(size: int) -> bytes:
    weight = onnx.numpy_helper.from_array(np.ones((size, size), np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", size])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", size])],
        [weight],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def test_more_work_takes_longer() -> None:
    small, large = (median_latency(product(size), {"x": np.ones((64, size), np.float32)}) for size in (8, 1024))
    assert 0 < 10 * small < large < 10


def test_conditions_name_the_threads() -> None:
    assert torch.get_num_threads() == 1  # tests/conftest.py
    assert latency_conditions(3) == "CPU, 1 thread, batch 3"
    assert latency_conditions(3, on_gpu=True) == "GPU, batch 3"
