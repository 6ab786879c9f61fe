"""Real samples that a user gives to train on."""

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
    x, y = held_out_digits()
    np.savez(tmp_path / "digits.npz", x=x, y=y)
    np.savez(tmp_path / "unlabelled.npz", x=x)
    return tmp_path / "digits.npz"


def test_all_of_them(file: Path, digits: Teacher) -> None:
    x, y = held_out_digits()
    found = read_real_samples(file, digits, None, 0)
    assert found.labels is not None
    assert found.inputs.shape == (450, 1, 8, 8)
    assert 0 <= found.inputs.min() < found.inputs.max() == 1  # the file's 0 to 16
    pairs = {
        (tuple(row.flatten().tolist()), int(label)) for row, label in zip(found.inputs * 16, found.labels, strict=True)
    }
    assert pairs == {(tuple(row.flatten().tolist()), int(label)) for row, label in zip(x, y, strict=True)}


def test_some_of_each_class(file: Path, digits: Teacher) -> None:
    found = read_real_samples(file, digits, 7, 0)
    assert found.labels is not None
    assert torch.bincount(found.labels).tolist() == [7] * 10
    assert torch.equal(found.inputs, read_real_samples(file, digits, 7, 0).inputs)
    assert not torch.equal(found.inputs, read_real_samples(file, digits, 7, 1).inputs)


def test_classes_of_unlabelled_samples_are_the_teachers(file: Path, digits: Teacher) -> None:
    found = read_real_samples(file.with_name("unlabelled.npz"), digits, 5, 0)
    assert found.labels is None
    named = digits.logits(digits.domain.to_file(found.inputs.float())).argmax(1)
    assert torch.bincount(named).tolist() == [5] * 10


def test_no_such_file(digits: Teacher, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_real_samples(tmp_path / "none.npz", digits, None, 0)
