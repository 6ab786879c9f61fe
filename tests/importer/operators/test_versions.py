"""Older schema versions, which the conformance suite does not contain, compared with onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importer.operators.single_node import assert_as_onnxruntime, normal, run
from zskd_onnx.errors import UnsupportedTeacherError

INT = np.int64


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("opset", [7, 11, 12])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax_below_13_flattens(op_type: str, opset: int, axis: int) -> None:
    assert_as_onnxruntime(op_type, opset, normal(2, 3, 4), axis=axis)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_13_works_on_one_axis(op_type: str) -> None:
    assert_as_onnxruntime(op_type, 13, normal(2, 3, 4), axis=1)


REDUCTIONS = ["Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("opset", [7, 11, 12])
def test_reductions_by_attribute(name: str, opset: int) -> None:
    x = np.abs(normal(2, 3, 4)) + 0.1
    assert_as_onnxruntime(f"Reduce{name}", opset, x, axes=[1], keepdims=0)
    assert_as_onnxruntime(f"Reduce{name}", opset, x, axes=[0, 2])
    assert_as_onnxruntime(f"Reduce{name}", opset, x)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_by_input(name: str) -> None:
    x = np.abs(normal(2, 3, 4)) + 0.1
    assert_as_onnxruntime(f"Reduce{name}", 18, x, np.array([0, -1], INT), frozen=[1], keepdims=0)


@pytest.mark.parametrize("opset", [7, 11, 12])
@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_position_of_extreme(op_type: str, opset: int) -> None:
    assert_as_onnxruntime(op_type, opset, normal(3, 5), axis=1, keepdims=0)


def test_position_of_last_extreme() -> None:
    assert_as_onnxruntime("ArgMax", 13, np.array([[1, 3, 3, 2]], np.float32), axis=1, select_last_index=1)


@pytest.mark.parametrize("scales", [[1.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.5, 2.5]])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(scales: list[float], mode: str) -> None:
    x = normal(1, 2, 4, 4)
    assert_as_onnxruntime("Upsample", 7, x, scales=scales, mode=mode)
    assert_as_onnxruntime("Upsample", 9, x, np.array(scales, np.float32), frozen=[1], mode=mode)


@pytest.mark.parametrize("scales", [[1, 1, 2, 3], [1, 1, 0.6, 0.6], [1, 1, 7 / 3, 1.5], [1, 1, 0.5, 2]])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_10(scales: list[float], mode: str) -> None:
    assert_as_onnxruntime("Resize", 10, normal(1, 2, 6, 6), np.array(scales, np.float32), frozen=[1], mode=mode)


@pytest.mark.parametrize("opset", [11, 13, 18, 19])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("scale", [2.0, 0.6, 1.7])
def test_resize_by_scales(opset: int, mode: str, coordinates: str, scale: float) -> None:
    # Ten times each scale is an integer; otherwise onnxruntime's align_corners differs from the standard.
    scales = np.array([1, 1, scale, scale], np.float32)
    options: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    assert_as_onnxruntime(
        "Resize",
        opset,
        normal(1, 2, 10, 10),
        np.array([], np.float32),
        scales,
        frozen=[1, 2],
        tolerance=1e-4,
        **options,
    )


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
def test_resize_nearest_to_sizes(nearest: str, coordinates: str) -> None:
    sizes = np.array([1, 2, 9, 4], INT)
    assert_as_onnxruntime(
        *("Resize", 13, normal(1, 2, 6, 6), None, None, sizes),
        frozen=[3],
        mode="nearest",
        nearest_mode=nearest,
        coordinate_transformation_mode=coordinates,
    )


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_resize_antialias(mode: str) -> None:
    assert_as_onnxruntime(
        *("Resize", 18, normal(1, 1, 9, 9), None, np.array([1, 1, 0.5, 0.5], np.float32)),
        frozen=[2],
        mode=mode,
        antialias=1,
        exclude_outside=1,
        tolerance=1e-4,
    )


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad_2(mode: str) -> None:
    assert_as_onnxruntime("Pad", 7, normal(2, 3, 4, 5), pads=[0, 0, 1, 2, 0, 0, 2, 1], mode=mode)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("pads", [[0, 0, 1, 2, 0, 0, 2, 1], [1, 1, 1, 1, 1, 1, 1, 1], [0, 0, -1, 2, 0, 0, 0, -2]])
def test_pad_11(mode: str, pads: list[int]) -> None:
    assert_as_onnxruntime("Pad", 11, normal(2, 3, 4, 5), np.array(pads, INT), frozen=[1], mode=mode)


def test_pad_wraps() -> None:
    assert_as_onnxruntime("Pad", 19, normal(2, 4), np.array([0, 2, 0, 3], INT), frozen=[1], mode="wrap")


def test_pad_axes_and_value() -> None:
    value = np.array(1.5, np.float32)
    inputs = (normal(2, 3, 4), np.array([1, 2], INT), value, np.array([-1], INT))
    assert_as_onnxruntime("Pad", 18, *inputs, frozen=[1, 2, 3])


@pytest.mark.parametrize("opset", [7, 11])
def test_split_attribute(opset: int) -> None:
    assert_as_onnxruntime("Split", opset, normal(2, 6), outputs=3, axis=1)
    assert_as_onnxruntime("Split", opset, normal(2, 6), outputs=2, axis=1, split=[1, 5])


def test_split_input() -> None:
    assert_as_onnxruntime("Split", 13, normal(2, 6), np.array([1, 5], INT), frozen=[1], outputs=2, axis=1)
    assert_as_onnxruntime("Split", 18, normal(2, 7), outputs=3, axis=1, num_outputs=3)


def test_slice_attribute_and_inputs() -> None:
    x = normal(4, 5, 6)
    assert_as_onnxruntime("Slice", 9, x, starts=[1, -3], ends=[3, 100], axes=[0, 2])
    numbers = [np.array(v, INT) for v in ([-1, 4], [-100, 1], [0, 2], [-1, -2])]
    assert_as_onnxruntime("Slice", 10, x, *numbers, frozen=[1, 2, 3, 4])
    assert_as_onnxruntime("Slice", 13, x, *numbers, frozen=[1, 2, 3, 4])


@pytest.mark.parametrize("opset", [7, 11])
def test_squeeze_and_unsqueeze_attribute(opset: int) -> None:
    assert_as_onnxruntime("Squeeze", opset, normal(2, 1, 3, 1), axes=[1])
    assert_as_onnxruntime("Unsqueeze", opset, normal(2, 3), axes=[0, 3])


def test_squeeze_and_unsqueeze_input() -> None:
    assert_as_onnxruntime("Squeeze", 13, normal(2, 1, 3, 1), np.array([-1], INT), frozen=[1])
    assert_as_onnxruntime("Unsqueeze", 13, normal(2, 3), np.array([0, -1], INT), frozen=[1])


def test_clip_attributes_and_inputs() -> None:
    assert_as_onnxruntime("Clip", 7, normal(3, 4), min=-0.5, max=0.5)
    assert_as_onnxruntime("Clip", 11, normal(3, 4), None, np.array(0.3, np.float32), frozen=[2])


@pytest.mark.parametrize("opset", [9, 10, 11])
def test_top_k(opset: int) -> None:
    x = np.array([[1, 3, 3, 2, 0], [5, 4, 5, 5, 1]], np.float32)
    if opset == 9:
        assert_as_onnxruntime("TopK", opset, x, outputs=2, k=3, axis=1)
    else:
        assert_as_onnxruntime("TopK", opset, x, np.array([3], INT), frozen=[1], outputs=2, axis=1)


@pytest.mark.parametrize("opset", [7, 10])
def test_dropout_is_identity(opset: int) -> None:
    assert_as_onnxruntime("Dropout", opset, normal(2, 3), ratio=0.7)


def test_dropout_in_training_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="inference mode"):
        run("Dropout", 13, normal(2, 3), np.array(0.5, np.float32), np.array(True), frozen=[1, 2])


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_normalization(opset: int) -> None:
    statistics = [normal(3, seed=i) for i in range(3)] + [np.abs(normal(3, seed=4)) + 0.1]
    assert_as_onnxruntime("BatchNormalization", opset, normal(2, 3, 4, 4), *statistics, epsilon=1e-3)


@pytest.mark.parametrize("opset", [7, 10, 11, 19, 22])
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 2], [1, 1, 1, 1]])
def test_average_pool(opset: int, include: int, pads: list[int]) -> None:
    options: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads, "count_include_pad": include}
    assert_as_onnxruntime("AveragePool", opset, normal(1, 2, 8, 9), **options)
    if opset >= 10:
        assert_as_onnxruntime("AveragePool", opset, normal(1, 2, 8, 9), ceil_mode=1, **options)


def test_average_pool_dilated() -> None:
    options: dict[str, Any] = {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [1, 1, 1, 1]}
    assert_as_onnxruntime("AveragePool", 19, normal(2, 3, 9, 9), **options)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
def test_pool_auto_pad(op_type: str, auto_pad: str) -> None:
    assert_as_onnxruntime(op_type, 11, normal(1, 2, 7, 6), kernel_shape=[3, 2], strides=[2, 2], auto_pad=auto_pad)


@pytest.mark.parametrize("opset", [8, 10, 12])
@pytest.mark.parametrize("storage_order", [0, 1])
def test_max_pool_indices(opset: int, storage_order: int) -> None:
    options: dict[str, Any] = {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [1, 0, 0, 1]}
    x = normal(2, 3, 5, 7)
    assert_as_onnxruntime("MaxPool", opset, x, outputs=2, storage_order=storage_order, **options)


@pytest.mark.parametrize("opset", [7, 11, 18])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(opset: int, p: int) -> None:
    assert_as_onnxruntime("LpPool", opset, normal(1, 2, 6, 6), kernel_shape=[2, 2], strides=[2, 2], p=p)


@pytest.mark.parametrize("opset", [7, 11])
@pytest.mark.parametrize(
    "options",
    [
        {"strides": [2, 3]},
        {"strides": [2, 3], "output_padding": [1, 2], "pads": [1, 0, 1, 1]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [3, 2], "output_shape": [10, 8]},
        {"strides": [3, 2], "output_shape": [9, 6], "auto_pad": "SAME_UPPER"},
        {"dilations": [2, 1], "group": 2},
    ],
    ids=str,
)
def test_conv_transpose(opset: int, options: dict[str, Any]) -> None:
    group = options.get("group", 1)
    weight = normal(4, 6 // group, 3, 3, seed=1)
    assert_as_onnxruntime(
        "ConvTranspose", opset, normal(2, 4, 3, 3), weight, normal(6, seed=2), tolerance=1e-4, **options
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("opset", [7, 11, 22])
def test_conv_ranks(rank: int, opset: int) -> None:
    x, weight = normal(2, 4, *(6,) * rank), normal(6, 2, *(3,) * rank, seed=1)
    assert_as_onnxruntime("Conv", opset, x, weight, group=2, pads=[1, 0] * rank, strides=[2] * rank, tolerance=1e-4)


def test_depth_to_space_1() -> None:
    assert_as_onnxruntime("DepthToSpace", 7, normal(1, 8, 2, 3), blocksize=2)


def test_gather_nd_without_batch() -> None:
    assert_as_onnxruntime("GatherND", 11, normal(3, 4, 5), np.array([[0, 1], [-1, 2]], INT), frozen=[1])


def test_gather_nd_with_batch() -> None:
    indices = np.array([[[0], [2]], [[1], [-1]]], INT)
    assert_as_onnxruntime("GatherND", 12, normal(2, 3, 4), indices, frozen=[1], batch_dims=1)


@pytest.mark.parametrize("opset", [11, 13, 16, 18])
def test_scatter(opset: int) -> None:
    x, indices = normal(3, 4), np.array([[0, -1, 2, 1], [1, 0, 0, 2]], INT)
    assert_as_onnxruntime("ScatterElements", opset, x, indices, normal(2, 4, seed=1), axis=0)
    places = np.array([[0], [2]], INT)
    assert_as_onnxruntime("ScatterND", opset, x, places, normal(2, 4, seed=1))
    if opset >= 16:
        assert_as_onnxruntime("ScatterElements", opset, x, indices, normal(2, 4, seed=1), axis=1, reduction="add")
        assert_as_onnxruntime("ScatterND", opset, x, places, normal(2, 4, seed=1), reduction="mul")


def test_one_hot() -> None:
    indices, values = np.array([[0, 2], [-1, 5]], INT), np.array([0.5, 2.0], np.float32)
    assert_as_onnxruntime("OneHot", 11, indices, np.array([4], INT), values, frozen=[1], axis=1)
    assert_as_onnxruntime("OneHot", 9, indices, np.array([4], INT), values, frozen=[1])


def test_mod() -> None:
    a, b = np.array([-7, 7, 5], INT), np.array([3, -3, 3], INT)
    assert_as_onnxruntime("Mod", 10, a, b)
    assert_as_onnxruntime("Mod", 13, a, b, fmod=1)


@pytest.mark.parametrize("opset", [11, 14])
def test_cumulative_sum(opset: int) -> None:
    axis = np.array(1, INT)
    assert_as_onnxruntime("CumSum", opset, normal(2, 5), axis, frozen=[1], exclusive=1, reverse=1)


def test_group_normalization_18_scales_groups() -> None:
    x, scale, bias = normal(2, 4, 3, 3), normal(2, seed=1), normal(2, seed=2)
    result = run("GroupNormalization", 18, x, scale, bias, num_groups=2)[0].numpy()
    grouped = x.reshape(2, 2, -1)
    plain = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(result, (plain * scale[:, None] + bias[:, None]).reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_shape_from_the_data_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedTeacherError, match=r"'node' \(Slice\).*'x1' must be a constant"):
        run("Slice", 13, normal(4), np.array([1], INT), np.array([2], INT))
