"""The adapter for Keras, adapters/keras.py."""

from __future__ import annotations

import numpy as np
import pytest

from tests.adapters.conftest import Adapter, check_teacher, metadata, outputs, softmax

pytestmark = pytest.mark.adapters

RANGE = ("--input-range", "0,16")


@pytest.mark.parametrize("model", ["cnn.keras", "cnn.h5", "softmax_layer.keras"])
def test_softmax_is_removed(adapter: Adapter, model: str) -> None:
    adapter.write(model, *RANGE)
    assert metadata(adapter.output).items() >= {"zskd.input_range": "0,16", "zskd.layout": "NHWC"}.items()
    facts = adapter.facts("cnn")
    logits = outputs(adapter.output, facts["x"])[0]
    assert logits.min() < -1
    np.testing.assert_allclose(softmax(logits), facts["scores"], atol=1e-5)
    teacher = check_teacher(adapter.output, facts, 10)
    assert teacher.output.kind == "logits"
    assert (teacher.domain.layout, teacher.domain.shape, teacher.domain.high) == ("NHWC", (1, 8, 8), (16.0,))


@pytest.mark.parametrize("arguments", [("cnn_saved_model",), ("cnn.keras", "--keep-softmax")])
def test_softmax_is_kept(adapter: Adapter, arguments: tuple[str, ...]) -> None:
    adapter.write(*arguments, *RANGE)
    facts = adapter.facts("cnn")
    np.testing.assert_allclose(outputs(adapter.output, facts["x"])[0], facts["scores"], atol=1e-5)
    assert check_teacher(adapter.output, facts, 10).output.kind == "softmax"


def test_one_sigmoid_stands_for_two_classes(adapter: Adapter) -> None:
    adapter.write("binary.keras", *RANGE, "--classes", "even,odd")
    facts = adapter.facts("binary")
    np.testing.assert_allclose(outputs(adapter.output, facts["x"])[0], facts["scores"], atol=1e-5)
    check_teacher(adapter.output, facts, 2)


def test_lambda_layer_needs_allow_pickle(adapter: Adapter) -> None:
    assert "--allow-pickle" in adapter.refuse(2, "lambda.keras")
    adapter.write("lambda.keras", "--allow-pickle")


def test_file_without_a_model(adapter: Adapter) -> None:
    assert "cnn.npz" in adapter.refuse(3, "cnn.npz")
