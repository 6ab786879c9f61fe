"""The demo reaches the accuracy that the README gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from tests.conftest import Cli
from zskd_onnx.assets.make_digits_teacher import training_digits
from zskd_onnx.pipeline.demo import held_out_digits


def test_bundled_teacher_is_small_and_accurate_on_the_test_set(digits_file: Path) -> None:
    assert digits_file.stat().st_size < 150_000
    x, y = held_out_digits()
    session = ort.InferenceSession(str(digits_file), providers=["CPUExecutionProvider"])
    assert (session.run(None, {"image": x})[0].argmax(1) == y).mean() > 0.97


def test_test_set_shares_no_samples_with_the_training_set() -> None:
    (train, _), (test, _) = training_digits(), held_out_digits()
    assert len(train) + len(test) == 1797
    training_images = {x.tobytes() for x in train}
    assert np.mean([x.tobytes() in training_images for x in test]) < 0.01


@pytest.mark.slow
def test_the_demo(cli: Cli, tmp_path: Path) -> None:
    done = cli("demo", "--output", "out", "--format", "json", timeout=600)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["accuracy"]["student"] >= result["accuracy"]["teacher"] - 0.02
    assert result["parity"]["max_abs_difference"] < 1e-4
    assert (tmp_path / "out" / "student.onnx").is_file()
