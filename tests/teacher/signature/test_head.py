"""The final fully connected layer: features(x) @ W.T + b must equal the logits."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from onnx import NodeProto, TensorProto, helper

from tests.conftest import SMALL, SaveModel
from zskd_onnx import UnsupportedTeacherError, compress
from zskd_onnx.system.onnx_runtime import open_session, run
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.teacher import Teacher

G = torch.Generator().manual_seed(0)
W = torch.randn(5, 4, generator=G)
B = torch.randn(5, generator=G)
node = helper.make_node
TINY = [*SMALL, "synthesis.iterations=1", "distillation.epochs=1"]


def check(path: Path, *, bias: torch.Tensor | None = B, weight: torch.Tensor = W) -> Teacher:
    """Load a file, and compare its head with the expected one and with features and logits."""
    teacher = load_teacher(path, input_range=(-1, 1))
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, weight)
    if bias is None:
        assert teacher.head.bias is None
    else:
        torch.testing.assert_close(teacher.head.bias, bias)
    x = torch.randn(3, *teacher.domain.file_shape(1)[1:])
    h = teacher.features(x)
    assert h.shape == (3, weight.shape[1])
    logits = h @ teacher.head.weight.T + (0 if teacher.head.bias is None else teacher.head.bias)
    torch.testing.assert_close(logits, teacher.logits(x))
    return teacher


HIDDEN = node("Relu", ["x"], ["h"])
"""A node before the head, so that the features differ from the input."""


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("beta", [1.0, 2.0])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(save_model: SaveModel, transposed: int, alpha: float, beta: float) -> None:
    gemm = node("Gemm", ["h", "w", "b"], ["y"], transB=transposed, alpha=alpha, beta=beta)
    matrix = W if transposed else W.T.contiguous()
    path = save_model([HIDDEN, gemm], ["N", 4], ["N", 5], {"w": matrix, "b": B})
    check(path, weight=alpha * W, bias=beta * B)


def test_gemm_without_bias(save_model: SaveModel) -> None:
    path = save_model([HIDDEN, node("Gemm", ["h", "w"], ["y"], transB=1)], ["N", 4], ["N", 5], {"w": W})
    check(path, bias=None)


def test_gemm_with_a_scalar_bias(save_model: SaveModel) -> None:
    nodes = [HIDDEN, node("Gemm", ["h", "w", "b"], ["y"], transB=1)]
    check(save_model(nodes, ["N", 4], ["N", 5], {"w": W, "b": B[:1]}), bias=B[:1].expand(5))


def test_matmul_without_bias(save_model: SaveModel) -> None:
    path = save_model([HIDDEN, node("MatMul", ["h", "w"], ["y"])], ["N", 4], ["N", 5], {"w": W.T.contiguous()})
    check(path, bias=None)


@pytest.mark.parametrize("operands", [["m", "b"], ["b", "m"]])
def test_matmul_and_add(save_model: SaveModel, operands: list[str]) -> None:
    nodes = [HIDDEN, node("MatMul", ["h", "w"], ["m"]), node("Add", operands, ["y"])]
    check(save_model(nodes, ["N", 4], ["N", 5], {"w": W.T.contiguous(), "b": B}))


def test_matmul_and_a_two_dimensional_bias(save_model: SaveModel) -> None:
    nodes = [HIDDEN, node("MatMul", ["h", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
    check(save_model(nodes, ["N", 4], ["N", 5], {"w": W.T.contiguous(), "b": B[None]}))


def test_two_biases_add_up(save_model: SaveModel) -> None:
    nodes = [HIDDEN, node("Gemm", ["h", "w", "b"], ["m"], transB=1), node("Add", ["m", "b"], ["y"])]
    check(save_model(nodes, ["N", 4], ["N", 5], {"w": W, "b": B}), bias=2 * B)


CONV = node("Conv", ["h", "w", "b"], ["c"])
KERNEL = {"w": W[:, :, None, None].contiguous(), "b": B}
FLATTEN = node("Flatten", ["p"], ["y"])


def test_convolution_then_pooling(save_model: SaveModel) -> None:
    nodes = [HIDDEN, CONV, node("GlobalAveragePool", ["c"], ["p"]), FLATTEN]
    check(save_model(nodes, ["N", 4, 6, 6], ["N", 5], KERNEL))


def test_convolution_then_a_mean(save_model: SaveModel) -> None:
    nodes = [HIDDEN, CONV, node("ReduceMean", ["c"], ["y"], axes=[2, 3], keepdims=0)]
    check(save_model(nodes, ["N", 4, 6, 6], ["N", 5], KERNEL))


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_convolution_then_a_mean_with_axes_as_an_input(save_model: SaveModel, axes: list[int]) -> None:
    nodes = [HIDDEN, CONV, node("ReduceMean", ["c", "axes"], ["y"], keepdims=0)]
    check(save_model(nodes, ["N", 4, 6, 6], ["N", 5], {**KERNEL, "axes": torch.tensor(axes)}, opset=18))


def test_pooling_then_convolution(save_model: SaveModel) -> None:
    pool = node("GlobalAveragePool", ["r"], ["h"])
    nodes = [node("Relu", ["x"], ["r"]), pool, node("Conv", ["h", "w", "b"], ["p"]), FLATTEN]
    check(save_model(nodes, ["N", 4, 6, 6], ["N", 5], KERNEL))


def test_strided_convolution_is_no_head(save_model: SaveModel) -> None:
    """It skips positions, so it does not commute with the mean over positions."""
    conv = node("Conv", ["h", "w", "b"], ["c"], strides=[2, 2])
    nodes = [HIDDEN, conv, node("GlobalAveragePool", ["c"], ["p"]), FLATTEN]
    teacher = load_teacher(save_model(nodes, ["N", 4, 6, 6], ["N", 5], KERNEL))
    assert teacher.head is None


def test_no_head_before_a_mean_over_channels(save_model: SaveModel) -> None:
    nodes = [HIDDEN, CONV, node("ReduceMean", ["c"], ["p"], axes=[1], keepdims=0), FLATTEN]
    teacher = load_teacher(save_model(nodes, ["N", 4, 1, 5], ["N", 5], KERNEL))
    assert teacher.head is None


WRAPPED = {
    "identity": [node("Identity", ["g"], ["y"])],
    "dropout": [node("Dropout", ["g"], ["y"])],
    "flatten": [node("Flatten", ["g"], ["y"])],
    "reshape": [node("Reshape", ["g", "shape"], ["y"])],
    "cast": [node("Cast", ["g"], ["double"], to=TensorProto.DOUBLE), node("Cast", ["double"], ["y"], to=1)],
    "all": [
        node("Identity", ["g"], ["i"]),
        node("Dropout", ["i"], ["d"]),
        node("Reshape", ["d", "shape"], ["r"]),
        node("Flatten", ["r"], ["f"]),
        node("Softmax", ["f"], ["s"], axis=1),
        node("Identity", ["s"], ["y"]),
    ],
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_head_before_operators_that_keep_values(save_model: SaveModel, wrapping: str) -> None:
    weights = {"w": W, "b": B, "shape": torch.tensor([-1, 5])}
    nodes = [HIDDEN, node("Gemm", ["h", "w", "b"], ["g"], transB=1), *WRAPPED[wrapping]]
    teacher = check(save_model(nodes, ["N", 4], ["N", 5], weights))
    assert teacher.output.kind == ("softmax" if wrapping == "all" else "logits")


STORED = {
    "transpose": ([node("Transpose", ["w"], ["m"])], {"w": W}),
    "identity": ([node("Identity", ["w"], ["m"])], {"w": W.T.contiguous()}),
    "cast": ([node("Cast", ["w"], ["m"], to=TensorProto.FLOAT)], {"w": W.T.double().contiguous()}),
    "reshape": ([node("Reshape", ["w", "s"], ["m"])], {"w": W.T.flatten(), "s": torch.tensor([4, 5])}),
    "constant": (
        [node("Constant", [], ["m"], value=helper.make_tensor("m", 1, [4, 5], W.T.flatten().tolist()))],
        {},
    ),
}


@pytest.mark.parametrize("stored", STORED)
def test_weights_behind_constant_operators(save_model: SaveModel, stored: str) -> None:
    before, weights = STORED[stored]
    nodes: list[NodeProto] = [*before, HIDDEN, node("MatMul", ["h", "m"], ["p"]), node("Add", ["p", "b"], ["y"])]
    check(save_model(nodes, ["N", 4], ["N", 5], {**weights, "b": B}))


def test_features_without_a_head_are_an_error(save_model: SaveModel) -> None:
    teacher = load_teacher(save_model([node("Relu", ["x"], ["y"])], ["N", 5], ["N", 5]))
    assert teacher.head is None
    with pytest.raises(UnsupportedTeacherError, match="no final fully connected layer"):
        teacher.features(torch.zeros(1, 5))


def test_softmax_inside_the_network_is_no_output_activation(save_model: SaveModel) -> None:
    nodes = [node("Softmax", ["x"], ["h"], axis=1), node("Gemm", ["h", "w", "b"], ["y"], transB=1)]
    assert check(save_model(nodes, ["N", 4], ["N", 5], {"w": W, "b": B})).output.kind == "logits"


def test_two_averaged_heads(save_model: SaveModel) -> None:
    """DeiT averages the heads of a class token and a distillation token: W is the mean of both weights."""
    first, second = torch.randn(3, 4), torch.randn(3, 4)
    bias = torch.randn(3)
    nodes = [
        node("Relu", ["x"], ["f"]),
        node("Tanh", ["x"], ["g"]),
        node("Gemm", ["f", "first", "bias"], ["a"], transB=1),
        node("Gemm", ["g", "second"], ["b"], transB=1),
        node("Add", ["a", "b"], ["sum"]),
        node("Div", ["sum", "two"], ["y"]),
    ]
    weights = {"first": first, "second": second, "bias": bias, "two": torch.tensor(2.0)}
    teacher = load_teacher(save_model(nodes, ["N", 4], ["N", 3], weights))
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, (first + second) / 2)
    assert teacher.head.bias is not None
    torch.testing.assert_close(teacher.head.bias, bias / 2)
    x = torch.randn(5, 4)
    torch.testing.assert_close(teacher.features(x), (x.relu() + x.tanh()) / 2)


def test_search_through_nested_sums_ends(save_model: SaveModel) -> None:
    names = ["x", *(f"s{i}" for i in range(60)), "y"]
    nodes = [node("Add", [a, a], [b]) for a, b in itertools.pairwise(names)]
    assert load_teacher(save_model(nodes, ["N", 4], ["N", 4], {})).head is None


def head_of(path: Path) -> Teacher:
    """Load a file, and compare its output in onnxruntime with the one that the head computes from the features."""
    teacher = load_teacher(path, input_range=(-1, 1))
    head = teacher.head
    assert head is not None
    x = torch.randn(3, *teacher.domain.file_shape(1)[1:])
    logits = head.to_logits(torch.nn.functional.linear(teacher.features(x), head.weight, head.bias))
    (values,) = run(open_session(path), x.numpy())
    torch.testing.assert_close(teacher.output.from_logits(logits), torch.from_numpy(values))
    return teacher


GEMM = node("Gemm", ["h", "w", "b"], ["g"], transB=1)
SCALE = torch.tensor([0.5, -2.0, 1.5, 3.0, -0.25])
STEPS = {
    "scale": [node("Mul", ["scale", "g"], ["y"])],
    "divisor": [node("Div", ["g", "scale"], ["y"])],
    "subtracted": [node("Sub", ["g", "scale"], ["y"])],
    "subtracted from": [node("Sub", ["scale", "g"], ["y"])],
    "all": [
        node("Sub", ["scale", "g"], ["i"]),
        node("Div", ["i", "b"], ["j"]),
        node("Add", ["j", "scale"], ["k"]),
        node("Mul", ["k", "b"], ["y"]),
    ],
}


@pytest.mark.parametrize("steps", STEPS)
def test_arithmetic_with_a_number_for_each_class_is_part_of_the_head(save_model: SaveModel, steps: str) -> None:
    weights = {"w": W, "b": B, "scale": SCALE}
    head_of(save_model([HIDDEN, GEMM, *STEPS[steps]], ["N", 4], ["N", 5], weights))


def test_constant_divided_by_the_scores_is_no_head(save_model: SaveModel) -> None:
    nodes = [HIDDEN, node("MatMul", ["h", "w"], ["g"]), node("Exp", ["g"], ["e"]), node("Div", ["scale", "e"], ["y"])]
    path = save_model(nodes, ["N", 4], ["N", 5], {"w": W.T.contiguous(), "scale": SCALE})
    assert load_teacher(path).head is None


NORM = {"s": SCALE, "o": B, "m": B + 1, "v": SCALE.abs()}


def test_batch_normalisation_is_part_of_the_head(save_model: SaveModel) -> None:
    nodes = [HIDDEN, GEMM, node("BatchNormalization", ["g", "s", "o", "m", "v"], ["y"], epsilon=1e-3)]
    teacher = head_of(save_model(nodes, ["N", 4], ["N", 5], {"w": W, "b": B, **NORM}))
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, W * (SCALE / (SCALE.abs() + 1e-3).sqrt())[:, None])


def test_batch_normalisation_before_pooling_is_part_of_the_head(save_model: SaveModel) -> None:
    norm = node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"])
    nodes = [HIDDEN, CONV, norm, node("GlobalAveragePool", ["n"], ["p"]), FLATTEN]
    head_of(save_model(nodes, ["N", 4, 3, 3], ["N", 5], {**KERNEL, **NORM}))


def test_constant_of_positions_is_no_bias_of_classes(save_model: SaveModel) -> None:
    """The map has five columns and there are five classes, but the constant belongs to the columns."""
    nodes = [HIDDEN, CONV, node("Add", ["c", "scale"], ["a"]), node("GlobalAveragePool", ["a"], ["p"]), FLATTEN]
    teacher = load_teacher(save_model(nodes, ["N", 4, 5, 5], ["N", 5], {**KERNEL, "scale": SCALE}))
    assert teacher.head is None


LARGE = torch.randn(5, 3, 4, 2, generator=G)


@pytest.mark.parametrize("ending", [[], [node("GlobalAveragePool", ["c"], ["p"])]])
def test_convolution_as_large_as_its_map(save_model: SaveModel, ending: list[NodeProto]) -> None:
    nodes = [HIDDEN, CONV, *ending, node("Flatten", ["p" if ending else "c"], ["y"])]
    teacher = head_of(save_model(nodes, ["N", 3, 4, 2], ["N", 5], {"w": LARGE, "b": B}))
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, LARGE.flatten(1))


def test_convolution_smaller_than_its_map_is_no_head(save_model: SaveModel) -> None:
    nodes = [HIDDEN, CONV, node("GlobalAveragePool", ["c"], ["p"]), FLATTEN]
    assert load_teacher(save_model(nodes, ["N", 3, 5, 2], ["N", 5], {"w": LARGE, "b": B})).head is None


def test_convolution_with_padding_is_no_head(save_model: SaveModel) -> None:
    conv = node("Conv", ["h", "w", "b"], ["c"], pads=[0, 1, 0, 1], strides=[1, 3])
    nodes = [HIDDEN, conv, node("Flatten", ["c"], ["y"])]
    assert load_teacher(save_model(nodes, ["N", 3, 4, 2], ["N", 5], {"w": LARGE, "b": B})).head is None


def test_layer_at_each_position_is_no_head(save_model: SaveModel) -> None:
    """The classes are channels and positions together, so the layer has no row for each."""
    nodes = [HIDDEN, CONV, node("Flatten", ["c"], ["y"])]
    assert load_teacher(save_model(nodes, ["N", 4, 2, 2], ["N", 20], KERNEL)).head is None


def test_product_with_an_axis_of_one(save_model: SaveModel) -> None:
    nodes = [
        node("Unsqueeze", ["x", "axis"], ["h"]),
        node("MatMul", ["h", "w"], ["m"]),
        node("Squeeze", ["m", "axis"], ["y"]),
    ]
    head_of(save_model(nodes, ["N", 4], ["N", 5], {"w": W.T.contiguous(), "axis": torch.tensor([1])}))


def test_computed_bias_is_no_part_of_a_head(save_model: SaveModel) -> None:
    nodes = [HIDDEN, node("Gemm", ["x", "w"], ["c"], transB=1), node("Gemm", ["h", "w", "c"], ["y"], transB=1)]
    assert load_teacher(save_model(nodes, ["N", 4], ["N", 5], {"w": W})).head is None


def test_rectified_logits(save_model: SaveModel, tmp_path: Path) -> None:
    """ReLU between the final layer and a softmax; the default prior needs only the weights."""
    nodes = [
        node("Gemm", ["x", "v"], ["f"]),
        node("Relu", ["f"], ["h"]),
        GEMM,
        node("Relu", ["g"], ["r"]),
        node("Softmax", ["r"], ["y"], axis=1),
    ]
    weights = {"v": torch.randn(6, 40, generator=G), "w": torch.randn(5, 40, generator=G), "b": B}
    path = save_model(nodes, ["N", 6], ["N", 5], weights)
    teacher = head_of(path)
    assert teacher.head is not None
    assert teacher.head.rectified
    assert teacher.to(torch.float64).head.rectified
    compress(path, tmp_path / "run", recipe="zskd", overrides=TINY, input_range=(-1, 1), student="mlp-small")


def test_rectified_layer_without_a_softmax_is_no_head(save_model: SaveModel) -> None:
    nodes = [node("Gemm", ["x", "w", "b"], ["g"], transB=1), node("Relu", ["g"], ["y"])]
    assert load_teacher(save_model(nodes, ["N", 4], ["N", 5], {"w": W, "b": B})).head is None
