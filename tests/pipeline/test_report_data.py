"""The arrays for the report, by hand, and files of unknown origin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from zskd_onnx import UsageError
from zskd_onnx.metrics.compare import Comparison
from zskd_onnx.pipeline.report_data import ClassAnswers, Errors, ReportData, ShownSamples, Similarity, largest


def compared(teacher: list[int], student: list[int], confidence: list[float]) -> Comparison:
    columns = (torch.tensor(teacher), torch.tensor(student), torch.tensor(confidence))
    return Comparison(0.5, 0.5, None, 1.0, 2, len(teacher), *columns)


COMPARISON = compared([0, 2, 0, 2], [0, 1, 1, 2], [0.5, 0.25, 1.0, 0.75])


@pytest.fixture
def data() -> ReportData:
    """Of four samples and three classes."""
    samples = ShownSamples.of(torch.arange(4).view(4, 1, 1, 1).expand(4, 1, 8, 8) / 4, COMPARISON, 3)
    labels, teacher, student = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 1]), torch.tensor([0, 2, 2, 0])
    return ReportData(
        samples,
        ClassAnswers.of(COMPARISON, 3),
        Similarity.of(torch.tensor([[1, 0.5, -0.5], [0.5, 1, 0.9], [-0.5, 0.9, 1]])),
        Errors.of(teacher, student, labels, 3),
    )


def test_the_arrays_by_hand(data: ReportData) -> None:
    assert data.samples.classes.tolist() == [0, 0, 2, 2]
    assert data.samples.confidence.tolist() == [0.5, 1.0, 0.25, 0.75]
    assert data.samples.pictures[:, 0, 0, 0].tolist() == [0, 128, 64, 191]
    assert data.answers.counts.tolist() == [2, 0, 2]
    assert data.answers.confidence.tolist() == [0.75, 0.0, 0.5]
    assert data.answers.agreed.tolist() == [1, 0, 1]
    assert data.similarity is not None
    assert data.similarity.pairs.tolist() == [[1, 2], [0, 1], [0, 2]]
    assert data.similarity.values.tolist() == pytest.approx([0.9, 0.5, -0.5])
    assert data.errors is not None
    assert data.errors.samples.tolist() == [1, 1, 2]
    assert data.errors.teacher_right.tolist() == [1, 1, 1]
    assert data.errors.student_right.tolist() == [1, 0, 1]
    assert data.errors.confusion.tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 1]]
    assert data.errors.frequent.tolist() == [[1, 2, 1], [2, 0, 1]]


def test_a_file_gives_the_arrays_again(data: ReportData, tmp_path: Path) -> None:
    data.write(tmp_path / "report.npz")
    again = ReportData.read(tmp_path / "report.npz", 3)
    for part in ("samples", "answers", "similarity", "errors"):
        for name, array in vars(getattr(data, part)).items():
            np.testing.assert_array_equal(getattr(getattr(again, part), name), array)
    ReportData(data.samples, data.answers, None, None).write(tmp_path / "report.npz")
    assert ReportData.read(tmp_path / "report.npz", 3).errors is None


def test_of_many_classes_the_first_are_drawn_and_all_are_compared() -> None:
    similarity = torch.eye(300)
    similarity[298, 299] = similarity[299, 298] = 0.5
    part = Similarity.of(similarity)
    assert part.matrix.shape == (100, 100)
    assert part.pairs[0].tolist() == [298, 299]
    labels = torch.arange(300)
    errors = Errors.of(labels, labels.roll(1), labels, 300)
    assert errors.confusion.shape == (100, 100)
    assert errors.confusion.sum() == 99  # class 0 is taken for class 299, which is not drawn
    assert errors.frequent.shape == (8, 3)


def test_of_many_classes_those_with_the_most_samples_are_shown() -> None:
    predicted = [50, 60, 50, *range(20, 40)]
    samples = ShownSamples.of(torch.zeros(23, 1, 8, 8), compared(predicted, predicted, [1.0] * 23), 100)
    assert samples.classes.tolist() == [50, 50, *range(20, 31)]
    assert largest(np.array([1, 3, 2]), 2).tolist() == [1, 2]
    assert largest(np.array([1, 3, 2]), 3).tolist() == [0, 1, 2]


def changed(path: Path, **arrays: np.ndarray) -> None:
    with np.load(path) as file:
        content = dict(file)
    np.savez(path, **{**content, **{name.replace("_of_", "."): array for name, array in arrays.items()}})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"answers_of_counts": np.zeros(4, np.int64)}, "array answers.counts has shape"),
        ({"answers_of_counts": np.full(3, -1)}, "values that no run writes"),
        ({"answers_of_confidence": np.full(3, np.nan, np.float32)}, "values that no run writes"),
        ({"answers_of_confidence": np.array(["a", "b", "c"])}, "array answers.confidence has"),
        ({"samples_of_classes": np.full(4, 3)}, "has class 3"),
        ({"similarity_of_pairs": np.full((3, 2), 7)}, "has class 7"),
        ({"errors_of_frequent": np.full((2, 3), 9)}, "a class that the teacher does not have"),
        ({"samples_of_pictures": np.zeros((4, 5000, 5000, 3), np.uint8)}, "bytes, expected at most"),
        ({"samples_of_classes": np.array([None] * 4)}, "allow_pickle"),
    ],
)
def test_damaged_arrays(data: ReportData, tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "report.npz"
    data.write(path)
    changed(path, **arrays)
    with pytest.raises(UsageError, match=message) as raised:
        ReportData.read(path, 3)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report.npz"
    with pytest.raises(UsageError, match="missing or damaged"):
        ReportData.read(path, 3)
    path.write_bytes(content)
    with pytest.raises(UsageError, match="missing or damaged"):
        ReportData.read(path, 3)


def test_a_missing_array(data: ReportData, tmp_path: Path) -> None:
    path = tmp_path / "report.npz"
    data.write(path)
    with np.load(path) as file:
        content = {name: array for name, array in file.items() if name != "errors.confusion"}
    np.savez(path, **content)
    with pytest.raises(UsageError, match=r"errors\.confusion"):
        ReportData.read(path, 3)
