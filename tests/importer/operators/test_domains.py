"""Operators of com.microsoft and ai.onnx.ml, compared with onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importer.operators.single_node import assert_as_onnxruntime, normal, run

MICROSOFT = {"domain": "com.microsoft"}
ML = {"domain": "ai.onnx.ml"}


@pytest.mark.parametrize("op_type", ["Gelu", "FastGelu", "QuickGelu"])
def test_gelus(op_type: str) -> None:
    assert_as_onnxruntime(op_type, 1, normal(3, 8), tolerance=1e-4, **MICROSOFT)


@pytest.mark.parametrize("op_type", ["BiasGelu", "FastGelu"])
def test_gelus_with_bias(op_type: str) -> None:
    assert_as_onnxruntime(op_type, 1, normal(3, 8), normal(8, seed=1), tolerance=1e-4, **MICROSOFT)


@pytest.mark.parametrize("activation", [None, ("Relu", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.5])])
def test_fused_conv(activation: tuple[str, list[float]] | None) -> None:
    options: dict[str, Any] = {"pads": [1, 1, 1, 1], **MICROSOFT}
    if activation is not None:
        options["activation"] = activation[0]
        if activation[1]:
            options["activation_params"] = activation[1]
    inputs = normal(1, 3, 5, 5), normal(4, 3, 3, 3, seed=1), normal(4, seed=2)
    assert_as_onnxruntime("FusedConv", 1, *inputs, tolerance=1e-4, **options)


def test_fused_conv_with_addition() -> None:
    inputs = normal(1, 3, 5, 5), normal(4, 3, 3, 3, seed=1), normal(4, seed=2), normal(1, 4, 3, 3, seed=3)
    assert_as_onnxruntime("FusedConv", 1, *inputs, activation="Relu", tolerance=1e-4, **MICROSOFT)


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_fused_matmul(trans_a: int, trans_b: int) -> None:
    a = normal(2, 4, 3) if trans_a else normal(2, 3, 4)
    b = normal(2, 5, 4, seed=1) if trans_b else normal(2, 4, 5, seed=1)
    assert_as_onnxruntime("FusedMatMul", 1, a, b, alpha=0.5, transA=trans_a, transB=trans_b, **MICROSOFT)


@pytest.mark.parametrize("trans_a", [0, 1])
def test_fused_matmul_moves_the_batch(trans_a: int) -> None:
    a, b = normal(3, 2, 4), normal(2, 3, 5, seed=1) if trans_a else normal(2, 4, 5, seed=1)
    assert_as_onnxruntime("FusedMatMul", 1, a, b, transBatchA=1, transA=trans_a, **MICROSOFT)


def test_layer_normalization_at_old_opsets() -> None:
    inputs = normal(2, 3, 8), normal(8, seed=1), normal(8, seed=2)
    assert_as_onnxruntime("LayerNormalization", 14, *inputs, axis=-1, epsilon=1e-5, tolerance=1e-4)


def test_skip_layer_normalization() -> None:
    inputs = [normal(2, 3, 8, seed=i) for i in range(2)] + [normal(8, seed=i) for i in range(2, 5)]
    assert_as_onnxruntime("SkipLayerNormalization", 1, *inputs, epsilon=1e-5, tolerance=1e-4, **MICROSOFT)
    results = run("SkipLayerNormalization", 1, *inputs, outputs=4, **MICROSOFT)  # type: ignore[arg-type]
    np.testing.assert_allclose(results[3].numpy(), inputs[0] + inputs[1] + inputs[4], rtol=1e-6)


@pytest.mark.parametrize("post_transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_linear_classifier(post_transform: str) -> None:
    assert_as_onnxruntime(
        *("LinearClassifier", 1, normal(6, 4)),
        outputs=2,
        coefficients=normal(12, seed=1).tolist(),
        intercepts=[0.1, -0.2, 0.3],
        classlabels_ints=[7, 3, 5],
        post_transform=post_transform,
        **ML,
    )


def test_linear_classifier_with_string_labels_gives_scores() -> None:
    options: dict[str, Any] = {"classlabels_strings": ["cat", "dog"], **ML}
    labels, scores = run("LinearClassifier", 1, normal(5, 2), outputs=2, coefficients=[1.0, 0.0, 0.0, 1.0], **options)
    assert labels is None
    np.testing.assert_allclose(scores.numpy(), normal(5, 2), rtol=1e-6)


def test_linear_classifier_with_one_row_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="1 rows of coefficients for 2 classes"):
        run("LinearClassifier", 1, normal(5, 2), outputs=2, coefficients=[1.0, 2.0], classlabels_ints=[0, 1], **ML)  # type: ignore[arg-type]


def test_scaler() -> None:
    x = normal(3, 4)
    assert_as_onnxruntime("Scaler", 1, x, offset=[1.0, 2.0, 3.0, 4.0], scale=[0.5, 0.1, 2.0, 1.0], **ML)
    assert_as_onnxruntime("Scaler", 1, x, offset=[1.0], scale=[0.5], **ML)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(norm: str) -> None:
    assert_as_onnxruntime("Normalizer", 1, normal(5, 4), norm=norm, **ML)


@pytest.mark.parametrize("missing", [float("nan"), -1.0])
def test_imputer(missing: float) -> None:
    x = np.array([[1, missing, 3], [missing, 5, missing]], np.float32)
    assert_as_onnxruntime("Imputer", 1, x, imputed_value_floats=[7.0, 8.0, 9.0], replaced_value_float=missing, **ML)


def test_label_encoder() -> None:
    x = np.array([3, 5, 9], np.int64)
    numbers = {"keys_int64s": [3, 5], "values_floats": [0.5, 1.5], "default_float": -2.0}
    assert_as_onnxruntime("LabelEncoder", 2, x, **numbers, **ML)  # type: ignore[arg-type]
    assert_as_onnxruntime("LabelEncoder", 2, x, keys_int64s=[3, 5], values_int64s=[1, 0], **ML)


def test_label_encoder_of_strings_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="strings"):
        run("LabelEncoder", 2, np.array([3], np.int64), keys_int64s=[3], values_strings=["cat"], **ML)  # type: ignore[arg-type]


def test_array_feature_extractor() -> None:
    indices = np.array([2, 0], np.int64)
    assert_as_onnxruntime("ArrayFeatureExtractor", 1, normal(3, 4), indices, **ML)
    assert_as_onnxruntime("ArrayFeatureExtractor", 1, normal(4), indices, **ML)


def test_zip_map_returns_the_tensor() -> None:
    x = normal(3, 2)
    (y,) = run("ZipMap", 1, x, classlabels_int64s=[0, 1], **ML)  # type: ignore[arg-type]
    np.testing.assert_array_equal(y.numpy(), x)
