"""Equalised models beside the models that they come from, in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from tests.pipeline.drop_in_teachers import HEAD, RESIDUAL, save
from tests.quantization.rescaled import rescale
from zskd_onnx import load_teacher
from zskd_onnx.quantization.equalisation import equalise, find_links
from zskd_onnx.quantization.prepare import prepare

DEPTHWISE = """
    h = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r = LeakyRelu (h)
    d = Conv <pads = [1, 1, 1, 1], group = 8> (r, w2, b2)
    s = Relu (d)
    p = Conv (s, w3)
    pooled = GlobalAveragePool (p)
    flat = Flatten (pooled)
"""
SHAPES = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 1, 3, 3), "b2": (8,), "w3": (8, 8, 1, 1), "w": (8, 4), "b": (4,)}


def scores(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """The output, and the inputs of all layers behind the first."""
    names = [n.input[0] for n in model.graph.node if n.op_type in ("Conv", "Gemm")][1:]
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    exposed.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = ort.InferenceSession(exposed.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def test_channels_become_alike_and_the_function_stays(digits_file: Path, tmp_path: Path) -> None:
    teacher = load_teacher(rescale(digits_file, tmp_path / "hard.onnx", 5))
    unit = torch.rand((64, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    model = prepare(teacher)
    equalised = equalise(model, teacher, unit)
    assert equalised is not None
    x = 16 * unit.numpy()
    before, after = scores(model, x), scores(equalised, x)
    np.testing.assert_allclose(after[0], before[0], atol=1e-4 * np.abs(before[0]).max())
    for first, second in zip(before[1:], after[1:], strict=True):
        spreads = []
        for values in (first, second):
            channels = np.abs(values).max(axis=(0, *range(2, values.ndim)))
            spreads.append(np.log2(channels[channels > 0]).std())
        assert spreads[1] < 0.6 * spreads[0]


def test_factors_that_were_there_do_not_matter(digits_file: Path, tmp_path: Path) -> None:
    """A file and the same with rescaled channels become the same."""
    unit = torch.rand((64, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    weights = []
    for spread in (0.0, 5.0):
        teacher = load_teacher(rescale(digits_file, tmp_path / "model.onnx", spread))
        equalised = equalise(prepare(teacher), teacher, unit)
        assert equalised is not None
        stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in equalised.graph.initializer}
        weights.append([row / np.abs(row).max() for row in stored["net.2.weight"].reshape(32, -1)])
    for first, second in zip(*weights, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("transposed", [False, True])
def test_depthwise_convolutions_and_both_forms_of_gemm(tmp_path: Path, transposed: bool) -> None:
    shapes = {**SHAPES, "w": (4, 8)} if transposed else SHAPES
    head = HEAD.replace("Gemm", "Gemm <transB = 1>") if transposed else HEAD
    teacher = load_teacher(save(tmp_path / "a.onnx", DEPTHWISE + head, "float[N, 3, 8, 8] x", weights=shapes))
    unit = torch.rand((40, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    model = prepare(teacher)
    assert len(list(find_links(model))) == 3
    equalised = equalise(model, teacher, unit)
    assert equalised is not None
    before, after = scores(model, unit.numpy()), scores(equalised, unit.numpy())
    np.testing.assert_allclose(after[0], before[0], rtol=1e-4, atol=1e-4)
    channels = np.abs(after[1]).max(axis=(0, 2, 3))  # what the depthwise convolution reads
    np.testing.assert_allclose(channels, channels[0], rtol=1e-4)


def test_values_that_two_nodes_read_stay(digits_file: Path, tmp_path: Path) -> None:
    residual = load_teacher(save(tmp_path / "a.onnx", RESIDUAL + HEAD, "float[N, 3, 8, 8] x"))
    assert [link.value for link in find_links(prepare(residual))] == []
    clipped = load_teacher(rescale(digits_file, tmp_path / "clip.onnx", 4, clip=True))
    assert equalise(prepare(clipped), clipped, torch.rand((8, 1, 8, 8))) is None
