"""Which channels can be removed, as ``inspect --thin`` shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from tests.students.thinning.graphs import graph_of
from zskd_onnx.pipeline.inspect_thinning import ThinnableGroup, inspect_thinning


def test_digits(digits_file: Path) -> None:
    thinning = inspect_thinning(digits_file)
    assert thinning.groups == (
        # with its rectifier, and the convolution that reads it
        ThinnableGroup("node_conv2d", 16, 1, 8, "node 'node_conv2d' (Conv)", 3),
        # with rectifier, pooling, reshape and the fully connected layer that reads it
        ThinnableGroup("node_conv2d_1", 32, 1, 16, "node 'node_conv2d_1' (Conv)", 5),
        ThinnableGroup("node_linear", 52, 1, 24, "node 'node_linear' (Gemm)", 3),
    )
    assert thinning.held == ()
    assert thinning.reason is None
    content = thinning.to_dict()
    assert content["teacher"] == {"parameters": 32_006, "multiply_adds": 331_272}
    assert content["thin:0.5"] == {"parameters": 7_666, "multiply_adds": 84_720}
    assert content["groups"][0]["name"] == "node_conv2d"


def test_held_channels_name_the_node(tmp_path: Path) -> None:
    """A sum along the channels mixes them all."""
    model = graph_of(
        "h = Conv<pads = [1, 1, 1, 1]>(x, a) g = CumSum(h, one) i = Conv(g, b) j = Relu(i) m = GlobalAveragePool(j) "
        "f = Flatten(m) y = Gemm<transB = 1>(f, c)",
        {"a": (6, 3, 3, 3), "b": (8, 6, 3, 3), "c": (4, 8), "one": np.array(1)},
    )
    onnx.save(model, tmp_path / "held.onnx")
    thinning = inspect_thinning(tmp_path / "held.onnx", input_range=(0, 1))
    assert [group.name for group in thinning.groups] == ["i"]
    (held,) = thinning.held
    assert (held.node, held.width, held.held_by) == ("node 'h' (Conv)", 6, "node 'g' (CumSum)")


def test_nothing_to_thin(tmp_path: Path) -> None:
    model = graph_of("f = Flatten(x) y = Gemm<transB = 1>(f, w)", {"w": (4, 108)})
    onnx.save(model, tmp_path / "linear.onnx")
    thinning = inspect_thinning(tmp_path / "linear.onnx", input_range=(0, 1))
    assert (thinning.groups, thinning.half) == ((), None)
    assert thinning.reason is not None
    assert "no channels that could be removed" in thinning.reason
    assert thinning.to_dict()["thin:0.5"] is None
