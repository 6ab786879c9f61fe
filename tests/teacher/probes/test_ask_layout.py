"""The layout of sequences, where only what a classifier has learned shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from zskd_onnx import load_teacher

CHANNELS, LENGTH, CLASSES = 6, 30, 5


def linear_classifier(path: Path, weight: np.ndarray) -> Path:
    """A file that flattens (N, A, B) and multiplies with the weight (A, B, K); nothing in it shows a layout."""
    *shape, classes = weight.shape
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
        "sequence",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(weight.reshape(-1, classes).astype(np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def weights(*, smooth: bool) -> np.ndarray:
    """Weights (C, L, K): waves along time, or noise."""
    rng = np.random.default_rng(0)
    if not smooth:
        return rng.normal(size=(CHANNELS, LENGTH, CLASSES))
    time = np.arange(LENGTH)[None, :, None] / LENGTH
    frequency = rng.uniform(1, 4, size=(CHANNELS, 1, CLASSES))
    return np.sin(2 * np.pi * (frequency * time + rng.uniform(size=(CHANNELS, 1, CLASSES))))


@pytest.mark.parametrize("layout", ["NCL", "NLC"])
def test_weights_that_are_smooth_in_time_show_the_layout(tmp_path: Path, layout: str) -> None:
    weight = weights(smooth=True)
    path = linear_classifier(tmp_path / "t.onnx", weight if layout == "NCL" else weight.transpose(1, 0, 2))
    domain = load_teacher(path, input_range=(-1, 1)).domain

    assert domain.layout == layout
    assert domain.shape == (CHANNELS, LENGTH)
    assert domain.layout_source == "inferred from the teacher's input gradient"
    assert domain.layout_warning is None


def test_noise_shows_none_so_the_default_is_taken_with_a_warning(tmp_path: Path) -> None:
    path = linear_classifier(tmp_path / "t.onnx", weights(smooth=False))
    domain = load_teacher(path, input_range=(-1, 1)).domain

    assert (domain.layout, domain.layout_source) == ("NCL", "default")
    assert domain.layout_warning is not None


def test_an_option_is_not_questioned(tmp_path: Path) -> None:
    path = linear_classifier(tmp_path / "t.onnx", weights(smooth=True).transpose(1, 0, 2))

    assert load_teacher(path, input_range=(-1, 1), layout="NCL").domain.layout == "NCL"
