"""Real samples that do not fit the teacher, or that the teacher does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.pipeline.plan import prepare


def notes(teacher: Path, folder: Path, x: np.ndarray, y: np.ndarray, option: str) -> str:
    np.savez(folder / "data.npz", x=x, y=y)
    return "\n".join(prepare(teacher, **{option: folder / "data.npz"}).notes)


@pytest.mark.parametrize("option", ["eval_data", "data"])
def test_right_samples_are_not_doubted(digits_file: Path, tmp_path: Path, option: str) -> None:
    text = notes(digits_file, tmp_path, *held_out_digits(), option)
    assert "near chance" not in text
    assert "input range 0 to" not in text


@pytest.mark.parametrize("option", ["eval_data", "data"])
def test_labels_in_another_order(digits_file: Path, tmp_path: Path, option: str) -> None:
    x, y = held_out_digits()
    order = np.argsort(y)  # sorted by class, as many files are
    assert "accuracy on the real samples is near chance" in notes(
        digits_file, tmp_path, x[order], (y[order] + 1) % 10, option
    )


def test_values_in_a_corner(digits_file: Path, tmp_path: Path) -> None:
    x, y = held_out_digits()
    text = notes(digits_file, tmp_path, x / 16, y, "eval_data")
    assert "x has values from 0 to 1, a small part of the input range 0 to 16 (file metadata)" in text
    assert "--input-range 0,1," in text
