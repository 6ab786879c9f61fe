"""Reading of real samples to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from zskd_onnx.data.real_samples import read_real_samples
from zskd_onnx.errors import UsageError
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.teacher.teacher import Teacher


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with labels; unlabelled.npz in the same folder has none."""
    x, y = held_out_digits()
    np.savez(tmp_path / "digits.npz", x=x, y=y)
    np.savez(tmp_path / "unlabelled.npz", x=x)
    return tmp_path / "digits.npz"


def test_all_samples_are_read(file: Path, digits: Teacher) -> None:
    x, y = held_out_digits()
    samples = read_real_samples(file, digits, None, 0)
    assert samples.labels is not None
    assert samples.inputs.shape == (450, 1, 8, 8)
    assert 0 <= samples.inputs.min() < samples.inputs.max() == 1  # the file has 0 to 16
    pairs = {
        (tuple(row.flatten().tolist()), int(label))
        for row, label in zip(samples.inputs * 16, samples.labels, strict=True)
    }
    assert pairs == {(tuple(row.flatten().tolist()), int(label)) for row, label in zip(x, y, strict=True)}


def test_a_number_of_samples_per_class(file: Path, digits: Teacher) -> None:
    samples = read_real_samples(file, digits, 7, 0)
    assert samples.labels is not None
    assert torch.bincount(samples.labels).tolist() == [7] * 10
    assert torch.equal(samples.inputs, read_real_samples(file, digits, 7, 0).inputs)
    assert not torch.equal(samples.inputs, read_real_samples(file, digits, 7, 1).inputs)


def test_classes_of_unlabelled_samples_are_the_teachers_predictions(file: Path, digits: Teacher) -> None:
    samples = read_real_samples(file.with_name("unlabelled.npz"), digits, 5, 0)
    assert samples.labels is None
    predictions = digits.logits(digits.domain.to_file(samples.inputs.float())).argmax(1)
    assert torch.bincount(predictions).tolist() == [5] * 10


def test_a_missing_file_is_an_error(digits: Teacher, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_real_samples(tmp_path / "none.npz", digits, None, 0)
