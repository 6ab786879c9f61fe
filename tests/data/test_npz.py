"""What uint8 values mean, and notes on a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zskd_onnx.data.npz import NpzSamples, read_evaluation_data, read_samples
from zskd_onnx.errors import UsageError
from zskd_onnx.teacher.signature.domain import Certainty, Domain

BYTES = np.random.default_rng(0).integers(0, 256, (20, 6), dtype=np.uint8)
BYTES.flat[:2] = 0, 255


def vector(low: float, high: float, certainty: Certainty = "known") -> Domain:
    return Domain("x", "float32", "NF", (6,), (low,), (high,), "", "option", certainty)


def read(folder: Path, x: np.ndarray, domain: Domain) -> NpzSamples:
    np.savez(folder / "data.npz", x=x)
    return read_samples(folder / "data.npz", domain, 3)


def test_bytes_are_the_values_of_vectors(tmp_path: Path) -> None:
    samples = read(tmp_path, BYTES, vector(0, 255))
    np.testing.assert_array_equal(samples.x, BYTES.astype(np.float32))
    [note] = samples.notes
    assert "uint8 values of x are taken as they are" in note


def test_a_known_range_scales_bytes_that_cannot_be_values(tmp_path: Path) -> None:
    samples = read(tmp_path, BYTES, vector(-1, 1))
    np.testing.assert_allclose(samples.x, BYTES / 255 * 2 - 1, atol=1e-6)
    [note] = samples.notes
    assert "uint8 values 0 to 255 of x are scaled to the input range -1 to 1 (option)" in note


def test_an_assumed_range_scales_nothing(tmp_path: Path) -> None:
    samples = read(tmp_path, BYTES, vector(-2, 2, "assumed"))
    np.testing.assert_array_equal(samples.x, BYTES)
    as_values, outside = samples.notes
    assert "taken as they are" in as_values
    assert "far outside the input range -2 to 2" in outside


def test_sequences_in_either_layout(tmp_path: Path) -> None:
    bytes_ = BYTES.reshape(20, 3, 2)
    domain = Domain("x", "float32", "NLC", (2, 3), (0.0,) * 2, (1.0,) * 2, "", "option", "known")
    np.testing.assert_allclose(read(tmp_path, bytes_, domain).x, bytes_ / 255, atol=1e-6)


def test_binary_images_as_bytes_are_doubted(tmp_path: Path) -> None:
    image = Domain("x", "float32", "NCHW", (1, 2, 3), (0.0,), (1.0,), "", "option", "known")
    [note] = read(tmp_path, (BYTES > 99).astype(np.uint8).reshape(20, 2, 3), image).notes
    assert "a small part of the input range 0 to 1" in note


def test_other_names_of_arrays_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, images=BYTES / 255, labels=np.array(["no", "yes"] * 10))
    data = read_evaluation_data(path, vector(0, 1), 2, ("no", "yes"))
    assert data.notes == (f"{path}: reads samples from array images, labels from labels",)
    assert data.y.tolist() == [0, 1] * 10


def test_vectors_are_not_told_of_images(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected numbers of shape \(20, 6\) as the teacher takes them$"):
        read(tmp_path, BYTES[:, :5], vector(0, 1))
