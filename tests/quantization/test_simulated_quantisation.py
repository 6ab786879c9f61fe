"""Simulated quantisation beside onnxruntime: single tensors, and a whole network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from zskd_onnx import load_teacher
from zskd_onnx.pipeline.quantization_samples import make_samples
from zskd_onnx.quantization.integers import to_integers
from zskd_onnx.quantization.prepare import prepare
from zskd_onnx.quantization.quantised_tensors import Scale, quantised_tensors
from zskd_onnx.quantization.simulated_quantisation import RoundedActivation, RoundedWeight, simulate_quantisation
from zskd_onnx.students.onnx_student import OnnxStudent


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def round_in_onnxruntime(x: Tensor, scale: np.ndarray, zero: np.ndarray, axis: int = 0) -> np.ndarray:
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> agraph (float[{",".join(map(str, x.shape))}] x) => (float y) '
        f"{{ q = QuantizeLinear <axis = {axis}> (x, s, z) y = DequantizeLinear <axis = {axis}> (q, s, z) }}"
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.initializer.extend(
        [numpy_helper.from_array(scale.astype(np.float32), "s"), numpy_helper.from_array(zero, "z")]
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.numpy()})[0]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_weight_is_rounded_as_onnxruntime_does(axis: int) -> None:
    weight = random(6, 5, 3, 3) * torch.logspace(-3, 2, 5)[:, None, None]
    scale = np.abs(weight.numpy()).max(tuple({0, 1, 2, 3} - {axis})) / 64
    expected = round_in_onnxruntime(weight, scale, np.zeros(len(scale), np.int8), axis)
    assert torch.equal(RoundedWeight(axis)(weight), torch.from_numpy(expected))
    assert len(np.unique(expected)) > 50  # not all zeros


def test_an_activation_is_rounded_as_onnxruntime_does() -> None:
    x, scale = random(7, 4, 5), Scale(0.013, 90)  # values beyond both ends of the range are among them
    expected = round_in_onnxruntime(x, np.array(scale.step), np.array(scale.zero_point, np.uint8))
    assert float(x.min()) < -0.013 * 90
    assert float(x.max()) > 0.013 * 165
    np.testing.assert_allclose(RoundedActivation(scale)(x).numpy(), expected, atol=1e-6)


def test_a_range_without_calibration_is_that_of_the_batch() -> None:
    x = random(7, 4, 5)
    step = (float(x.max()) - float(x.min())) / 255
    zero = np.array(round(-float(x.min()) / step), np.uint8)
    expected = round_in_onnxruntime(x, np.array(step), zero)
    np.testing.assert_allclose(RoundedActivation()(x).numpy(), expected, atol=1e-5)
    assert torch.equal(RoundedActivation()(torch.zeros(3, 2)), torch.zeros(3, 2))


def test_the_gradient_passes_unless_a_value_is_clipped() -> None:
    x = torch.tensor([-1.0, 0.1, 0.5, 9.0], requires_grad=True)
    RoundedActivation(Scale(0.01, 0))(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]
    weight = random(4, 3).requires_grad_()
    RoundedWeight(0)(weight).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.ones(4, 3))


def test_logits_are_those_of_the_quantised_file(digits_file: Path) -> None:
    """In onnxruntime with integer kernels, up to two steps of the logits' 8 bits."""
    teacher = load_teacher(digits_file)
    samples = make_samples(teacher, 0, torch.device("cpu"), lambda event: None)
    model = prepare(teacher)
    quantised = to_integers(model, teacher, samples.calibration)
    tensors = quantised_tensors(model, quantised)
    assert set(tensors.weights) == {f"net.{i}.weight" for i in (0, 2, 6, 8)}
    assert {"relu", "relu_1", "max_pool2d", "relu_2", "logits"} <= set(tensors.activations)
    network = OnnxStudent(model, teacher).eval()
    before = network(samples.held_out.float())
    simulate_quantisation(network.scores, tensors, calibrated=True)
    with torch.no_grad():
        simulated = network(samples.held_out.float()).numpy()
    session = ort.InferenceSession(quantised.SerializeToString(), providers=["CPUExecutionProvider"])
    x = teacher.domain.to_array(teacher.domain.to_file(samples.held_out.float()))
    (expected,) = session.run(None, {"image": x})
    step = tensors.activations["logits"].step
    differences = np.abs(simulated - expected) / step
    assert differences.max() < 2.01
    assert np.mean(differences > 0.01) < 0.05
    assert np.abs(before.detach().numpy() - expected).mean() > 10 * np.abs(simulated - expected).mean()
