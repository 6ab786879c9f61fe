"""Quantised operators: values against onnxruntime, gradients against the straight-through estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.importer.operators.single_node import Array, assert_as_onnxruntime, build, imported, integers, normal, run

MICROSOFT = "com.microsoft"


def number(value: float, dtype: Any = np.float32) -> Array:
    return np.array(value, dtype)


@pytest.mark.parametrize("opset", [10, 13, 19, 21])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_quantize_and_dequantize(opset: int, dtype: Any) -> None:
    zero = number(3, dtype)
    assert_as_onnxruntime("QuantizeLinear", opset, 4 * normal(2, 3, 4), number(0.02), zero, frozen=[1, 2])
    x = integers(0, 120, 2, 3, 4, dtype=dtype)
    assert_as_onnxruntime("DequantizeLinear", opset, x, number(0.02), zero, frozen=[1, 2])


def test_per_axis() -> None:
    scale, zero = np.array([0.02, 0.1, 0.05], np.float32), np.array([0, 5, -7], np.int8)
    assert_as_onnxruntime("QuantizeLinear", 13, 4 * normal(2, 3, 4), scale, zero, frozen=[1, 2], axis=1)
    x = integers(-128, 128, 4, 3, dtype=np.int8)
    assert_as_onnxruntime("DequantizeLinear", 13, x, scale, zero, frozen=[0, 1, 2], axis=-1)


def test_per_block() -> None:
    scale = np.abs(normal(3, 3, seed=1)) + 0.05
    zero = integers(0, 9, 3, 3)
    assert_as_onnxruntime("DequantizeLinear", 21, integers(0, 255, 3, 5), scale, zero, axis=1, block_size=2)


def test_gradient_passes_rounding_and_stops_at_saturation() -> None:
    x = torch.tensor([-1.0, 0.013, 0.5, 0.98, 7.0], requires_grad=True)
    model = build("QuantizeLinear", 13, [x.detach().numpy(), number(0.02), number(0, np.int8)], [1, 2], 1, "", {})
    (y,) = imported(model)(x)
    assert y.tolist() == [-50.0, 1.0, 25.0, 49.0, 127.0]
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([50.0, 50.0, 50.0, 50.0, 0.0]))


def test_ends_of_the_range_have_their_whole_gradient() -> None:
    """Black and white pixels are exactly at the ends of the range."""
    x = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    model = build("QuantizeLinear", 13, [x.detach().numpy(), number(1 / 255), number(0, np.uint8)], [1, 2], 1, "", {})
    (y,) = imported(model)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full((3,), 255.0))


@pytest.mark.parametrize("per_filter", [False, True])
def test_qlinear_conv(per_filter: bool) -> None:
    w_scale = np.array([0.02, 0.03, 0.01, 0.05], np.float32) if per_filter else number(0.02)
    w_zero = np.zeros(4, np.int8) if per_filter else number(0, np.int8)
    inputs = [
        *(integers(0, 256, 1, 3, 6, 6), number(0.04), number(120, np.uint8)),
        *(integers(-128, 128, 4, 3, 3, 3, dtype=np.int8, seed=1), w_scale, w_zero, number(0.5), number(100, np.uint8)),
        integers(-500, 500, 4, dtype=np.int32, seed=2),
    ]
    constants = range(1, 9)
    assert_as_onnxruntime("QLinearConv", 10, *inputs, frozen=constants, steps=1, pads=[1, 1, 0, 1])
    assert (run("QLinearConv", 10, *inputs, frozen=constants, pads=[1, 1, 0, 1])[0] % 1 == 0).all()


def test_qlinear_conv_has_a_gradient() -> None:
    x = torch.full((1, 1, 4, 4), 100.0, requires_grad=True)
    inputs = [
        *(x.detach().numpy().astype(np.uint8), number(0.1), number(0, np.uint8)),
        *(np.ones((1, 1, 2, 2), np.int8), number(1.0), number(0, np.int8), number(0.5), number(0, np.uint8)),
    ]
    (y,) = imported(build("QLinearConv", 10, inputs, range(1, 8), 1, "", {"strides": [2, 2]}))(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.2))


def test_qlinear_matmul_and_integers() -> None:
    a, b = integers(0, 256, 3, 5), integers(-128, 128, 5, 4, dtype=np.int8, seed=1)
    quantised = [a, number(0.05), number(9, np.uint8), b, number(0.02), number(0, np.int8), number(0.3)]
    assert_as_onnxruntime("QLinearMatMul", 10, *quantised, number(100, np.uint8), frozen=range(1, 8), steps=1)
    assert_as_onnxruntime("MatMulInteger", 10, a, b, number(9, np.uint8), number(0, np.int8), frozen=range(1, 4))
    image, kernel = integers(0, 256, 1, 2, 5, 5), integers(0, 256, 3, 2, 3, 3, seed=1)
    assert_as_onnxruntime("ConvInteger", 10, image, kernel, number(9, np.uint8), pads=[1, 1, 1, 1])


def test_dynamic_quantization() -> None:
    assert_as_onnxruntime("DynamicQuantizeLinear", 11, normal(4, 5), outputs=3)
    assert_as_onnxruntime("DynamicQuantizeLinear", 11, np.zeros((2, 2), np.float32), outputs=3)


@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_quantised_arithmetic(op_type: str) -> None:
    a = [integers(0, 256, 2, 3), number(0.05), number(120, np.uint8)]
    b = [integers(0, 256, 2, 3, seed=1), number(0.02), number(7, np.uint8)]
    end = [number(0.1), number(90, np.uint8)]
    assert_as_onnxruntime(op_type, 1, *a, *b, *end, domain=MICROSOFT, steps=1)


@pytest.mark.parametrize("zero", [12, 13])
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_halves_round_like_onnxruntime(op_type: str, zero: int) -> None:
    """All pairs of bytes, at scales that give halves.

    These kernels of onnxruntime add the zero point before they round.
    """
    a, b = (side.reshape(256, 256).astype(np.uint8) for side in np.meshgrid(np.arange(256), np.arange(256)))
    end = [number(1.0 if op_type == "QLinearAdd" else 4.0), number(zero, np.uint8)]
    inputs = [a, number(0.5), number(7, np.uint8), b, number(0.25), number(100, np.uint8), *end]
    assert_as_onnxruntime(op_type, 1, *inputs, domain=MICROSOFT, steps=0)


@pytest.mark.parametrize("zero", [12, 13])
@pytest.mark.parametrize("op_type", ["QLinearAveragePool", "QLinearGlobalAveragePool"])
def test_halves_of_means_round_like_onnxruntime(op_type: str, zero: int) -> None:
    x = [integers(0, 256, 8, 4, 4, 4), number(0.5), number(7, np.uint8), number(0.25), number(zero, np.uint8)]
    window = {} if "Global" in op_type else {"kernel_shape": [2, 2], "strides": [2, 2]}
    assert_as_onnxruntime(op_type, 1, *x, frozen=[1, 2, 3, 4], domain=MICROSOFT, steps=0, **window)  # type: ignore[arg-type]


def test_sums_beyond_float32_integers() -> None:
    """Sums of 25,088 products exceed 2**24, beyond which float32 does not hold every integer."""
    a, b = integers(0, 256, 8, 25088), integers(0, 128, 25088, 16, dtype=np.int8, seed=1)
    assert_as_onnxruntime("MatMulInteger", 10, a, b, frozen=[1], tolerance=1e-6)
    scales = [number(0.01), number(0, np.uint8), b, number(0.01), number(0, np.int8), number(200.0)]
    assert_as_onnxruntime("QLinearMatMul", 10, a, *scales, number(0, np.uint8), frozen=range(1, 8), steps=0)


def test_quantised_functions() -> None:
    x = [integers(0, 256, 1, 3, 6, 6), number(0.05), number(120, np.uint8)]
    end = [number(1 / 256), number(0, np.uint8)]
    constants, options = [1, 2, 3, 4], {"domain": MICROSOFT, "steps": 1}
    assert_as_onnxruntime("QLinearSigmoid", 1, *x, *end, frozen=constants, **options)  # type: ignore[arg-type]
    end = [number(0.05), number(120, np.uint8)]
    assert_as_onnxruntime("QLinearGlobalAveragePool", 1, *x, *end, frozen=constants, **options)  # type: ignore[arg-type]
    assert_as_onnxruntime(
        *("QLinearAveragePool", 1, *x, *end),
        frozen=constants,
        kernel_shape=[2, 2],
        strides=[2, 2],
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("opset", "axis"), [(12, 1), (13, -1)])
def test_quantised_softmax(opset: int, axis: int) -> None:
    """The attribute ``opset`` clashes with the helper's parameter, so a formula gives the expected values."""
    x = integers(0, 256, 2, 3, 4)
    inputs = [x, number(0.05), number(120, np.uint8), number(1 / 256), number(0, np.uint8)]
    attributes = {"axis": axis, "opset": opset}
    (y,) = imported(build("QLinearSoftmax", 1, inputs, range(1, 5), 1, MICROSOFT, attributes))(torch.from_numpy(x))
    values = 0.05 * (x.astype(np.float64) - 120)
    rows = np.exp(values.reshape(2, -1) if opset < 13 else values)
    expected = np.round(256 * rows / rows.sum(-1, keepdims=True)).clip(0, 255)
    np.testing.assert_allclose(y.numpy(), expected.reshape(x.shape), rtol=0, atol=1)


def test_quantised_concat() -> None:
    first = [integers(0, 256, 2, 3), number(0.05), number(120, np.uint8)]
    second = [integers(0, 256, 2, 2, seed=1), number(0.02), number(7, np.uint8)]
    end = [number(0.06), number(90, np.uint8)]
    constants = [0, 1, 3, 4, 6, 7]
    inputs = (*end, *first, *second)
    assert_as_onnxruntime("QLinearConcat", 1, *inputs, frozen=constants, domain=MICROSOFT, steps=1, axis=1)


@pytest.mark.parametrize("quantised_output", [False, True])
@pytest.mark.parametrize("transposed", [0, 1])
def test_qgemm(quantised_output: bool, transposed: int) -> None:
    b = integers(-128, 128, 4, 3, dtype=np.int8, seed=1)
    inputs: list[Array | None] = [integers(0, 256, 2, 4), number(0.05), number(120, np.uint8)]
    inputs += [b.T.copy() if transposed else b, np.array([0.01, 0.02, 0.03], np.float32), np.zeros(3, np.int8)]
    inputs += [integers(-100, 100, 3, dtype=np.int32, seed=2)]
    if quantised_output:
        inputs += [number(0.1), number(100, np.uint8)]
    constants = range(1, len(inputs))
    steps = 1 if quantised_output else None
    assert_as_onnxruntime(
        "QGemm", 1, *inputs, frozen=constants, domain=MICROSOFT, tolerance=1e-4, steps=steps, transB=transposed
    )
