"""Scores on real data, and the .npz files that hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

from tests.conftest import SaveModel
from zskd_onnx import UsageError
from zskd_onnx.data.npz import EvaluationData, read_evaluation_data, read_samples
from zskd_onnx.metrics.onnx_scores import Accuracies, accuracies, log_probabilities
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.output import Output

GREY = Domain("x", "float32", "NCHW", (1, 4, 5), (-1.0,), (1.0,), "", "", "known")
COLOUR = Domain("x", "float32", "NHWC", (3, 4, 5), (0.0,) * 3, (255.0,) * 3, "", "", "known")
BYTES = Domain("x", "uint8", "NHWC", (3, 4, 5), (0.0,) * 3, (255.0,) * 3, "", "", "known")


def read(folder: Path, domain: Domain, x: np.ndarray, y: np.ndarray | None = None, classes: int = 10) -> EvaluationData:
    path = folder / "data.npz"
    np.savez(path, x=x, y=np.zeros(len(x), np.int64) if y is None else y)
    return read_evaluation_data(path, domain, classes)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_byte_images_are_scaled_to_the_teachers_range(tmp_path: Path) -> None:
    pixels = images(6, 4, 5)
    expected = (pixels[:, None] / 255 * 2 - 1).astype(np.float32)
    for x in (pixels, pixels[:, None], pixels[..., None]):
        np.testing.assert_allclose(read(tmp_path, GREY, x).x, expected, atol=1e-6)


def test_byte_images_in_colour_in_either_layout(tmp_path: Path) -> None:
    pixels = images(6, 4, 5, 3)
    for x in (pixels, pixels.transpose(0, 3, 1, 2)):
        np.testing.assert_allclose(read(tmp_path, COLOUR, x).x, pixels, atol=1e-3)
    assert read(tmp_path, BYTES, pixels).x.dtype == np.uint8


def test_samples_in_the_teachers_format_are_unchanged(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((6, 1, 4, 5), dtype=np.float32)
    np.testing.assert_array_equal(read(tmp_path, GREY, x).x, x)
    np.testing.assert_array_equal(read(tmp_path, GREY, x[:, 0].astype(np.float64)).x, x)


@pytest.mark.parametrize(
    ("x", "y", "match"),
    [
        (images(3, 9, 9), None, "expected uint8 images of 4x5"),
        (np.zeros((3, 2, 4, 5), np.float32), None, "expected"),
        (np.zeros((3, 1, 4, 5), np.complex64), None, "type"),
        (images(3, 4, 5), np.zeros(2, np.int64), "expected 3 class numbers"),
        (images(3, 4, 5), np.full(3, 0.5), "class numbers"),
        (images(3, 4, 5), np.array([0, 1, 10]), "0 to 9"),
        (images(3, 4, 5), np.array([0, 1, -1]), "0 to 9"),
        (images(0, 4, 5), None, "at least one sample"),
        (np.array([0, 1, np.nan, np.nan])[:, None, None] + np.zeros((4, 4, 5)), None, r"2 samples.*NaN.*x\[2\]"),
        (np.full((3, 4, 5), 1e300), None, "infinite as float32"),
        (images(3, 4, 5).astype(np.float32), None, "the teacher takes images from -1 to 1"),
    ],
)
def test_bad_arrays(tmp_path: Path, x: np.ndarray, y: np.ndarray | None, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        read(tmp_path, GREY, x, y)


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with pytest.raises(UsageError, match="no such file"):
        read_evaluation_data(path, GREY, 10)
    path.write_text("no arrays")
    with pytest.raises(UsageError, match=r"expected an \.npz"):
        read_evaluation_data(path, GREY, 10)
    np.savez(path, x=np.zeros((3, 1, 4, 5)))
    with pytest.raises(UsageError, match="has no labels y, but the arrays x; expected"):
        read_evaluation_data(path, GREY, 10)
    np.savez(path, x=np.array([object()]), y=np.array([0]))
    with pytest.raises(UsageError, match="array x holds Python objects"):
        read_evaluation_data(path, GREY, 10)
    np.save(tmp_path / "data.npy", np.zeros(3))
    with pytest.raises(UsageError):
        read_evaluation_data(tmp_path / "data.npy", GREY, 10)


def test_samples_without_class_numbers(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((6, 1, 4, 5), dtype=np.float32)
    path = tmp_path / "data.npz"
    np.savez(path, x=x)
    samples = read_samples(path, GREY, 10)
    np.testing.assert_array_equal(samples.x, x)
    assert (samples.y, samples.notes) == (None, ())


def logits(classes: int) -> Output:
    return Output("y", "logits", (classes,), classes)


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_predictions_at_fixed_and_free_batch_sizes(save_model: SaveModel, batch: int | str) -> None:
    path = save_model([helper.make_node("Relu", ["x"], ["y"])], [batch, 3], [batch, 3])
    x = np.random.default_rng(0).random((301, 3), dtype=np.float32)
    expected = torch.from_numpy(x).relu().log_softmax(1)
    torch.testing.assert_close(log_probabilities(open_session(path), x, logits(3)), expected)


def scored(teacher: Path, student: Path, x: np.ndarray, y: np.ndarray, classes: int) -> Accuracies:
    first, second = (log_probabilities(open_session(p), x, logits(classes)).argmax(1) for p in (teacher, student))
    return accuracies(first, second, torch.from_numpy(y), classes)


def test_score_by_hand(save_model: SaveModel) -> None:
    """The teacher is right on 3 of 4 samples, the student on 1; they agree on 2."""
    flip = {"w": torch.eye(2).flip(0)}
    teacher = save_model([helper.make_node("Identity", ["x"], ["y"])], ["N", 2], ["N", 2], name="t.onnx")
    student = save_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Max", ["x", "m"], ["n"]),
            helper.make_node("Add", ["n", "c"], ["y"]),
        ],
        ["N", 2],
        ["N", 2],
        {**flip, "c": torch.tensor([0.5, 0.0])},
        name="s.onnx",
    )
    x = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    scores = scored(teacher, student, x, np.array([0, 1, 1, 1]), 2)
    assert (scores.teacher, scores.student, scores.agreement) == (0.75, 0.25, 0.5)
    assert scores.remarks == ()  # four samples are too few to tell


def test_remarks_of_a_score(save_model: SaveModel) -> None:
    """A student that answers one class, and a teacher that is wrong on every sample."""
    teacher = save_model([helper.make_node("Identity", ["x"], ["y"])], ["N", 3], ["N", 3], name="t.onnx")
    student = save_model(
        [helper.make_node("Mul", ["x", "zero"], ["m"]), helper.make_node("Add", ["m", "c"], ["y"])],
        ["N", 3],
        ["N", 3],
        {"zero": torch.zeros(1), "c": torch.tensor([0.0, 1.0, 0.0])},
        name="s.onnx",
    )
    y = np.arange(90) % 3
    remarks = scored(teacher, student, np.eye(3, dtype=np.float32)[y], (y + 1) % 3, 3).remarks
    assert "the teacher's accuracy on the real samples is near chance, 33.33 %" in remarks[0]
    assert "the student answers class 1 to all 90 samples" in remarks[1]
    assert "the agreement on 90 samples is near chance" in remarks[2]
