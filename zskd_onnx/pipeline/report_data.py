"""The arrays that a run keeps for its report: samples to show, predictions by class, class similarity, errors."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zskd_onnx.config.first_fault import first_fault
from zskd_onnx.errors import UsageError
from zskd_onnx.metrics.compare import Comparison
from zskd_onnx.report.pictures import thumbnail
from zskd_onnx.system.files import atomic_write

SHOWN_CLASSES, SHOWN_SAMPLES = 12, 6
"""Number of classes whose samples are shown, and of samples of each."""

DRAWN_CLASSES = 100
"""Number of classes, from the first, that a matrix has."""

LISTED = 8
"""Number of the most similar pairs of classes, and of the most frequent errors, that are listed."""

LARGEST = 1 << 26
"""Largest size of an array in the file, bytes: a damaged file may claim any."""


def largest(values: np.ndarray, most: int) -> np.ndarray:
    """The classes with the largest values (K,), at most ``most``; where there are not more classes, all in their order."""
    return np.arange(len(values)) if len(values) <= most else np.argsort(-values, kind="stable")[:most]


@dataclass(frozen=True)
class ShownSamples:
    """Held-out samples of the classes that have the most.

    Attributes:
        pictures: (M, H, W, 3), uint8.
        classes: the teacher's class of each (M,).
        confidence: its probability (M,).
    """

    pictures: np.ndarray
    classes: np.ndarray
    confidence: np.ndarray

    @classmethod
    def of(cls, held_out: Tensor, comparison: Comparison, classes: int) -> ShownSamples:
        """Some of the held-out samples (N, *shape) in the unit space; ``comparison`` was made on them."""
        predicted = comparison.teacher_classes
        shown: list[int] = []
        for number in largest(predicted.bincount(minlength=classes).numpy(), SHOWN_CLASSES):
            shown += (predicted == number).nonzero().flatten()[:SHOWN_SAMPLES].tolist()
        pictures = np.stack([thumbnail(held_out[index]) for index in shown])
        return cls(pictures, predicted[shown].numpy(), comparison.confidence[shown].numpy())


@dataclass(frozen=True)
class ClassAnswers:
    """Predictions on the held-out samples by the teacher's class.

    Attributes:
        counts: number of samples that the teacher predicts as each class (K,).
        confidence: its mean probability of the class on them (K,); 0 where there are none.
        agreed: number of them for which the student gives the same class (K,).
    """

    counts: np.ndarray
    confidence: np.ndarray
    agreed: np.ndarray

    @classmethod
    def of(cls, comparison: Comparison, classes: int) -> ClassAnswers:
        predicted = comparison.teacher_classes
        counts = predicted.bincount(minlength=classes)
        total = torch.zeros(classes).index_add(0, predicted, comparison.confidence)
        agreed = predicted[predicted == comparison.student_classes].bincount(minlength=classes)
        return cls(counts.numpy(), (total / counts.clamp_min(1)).numpy(), agreed.numpy())


@dataclass(frozen=True)
class Similarity:
    """Cosine similarity of the teacher's class weights.

    Attributes:
        matrix: of the first classes (D, D).
        pairs: the most similar pairs of all classes (P, 2).
        values: their similarity (P,).
    """

    matrix: np.ndarray
    pairs: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, matrix: Tensor) -> Similarity:
        """Of a whole matrix (K, K)."""
        above = matrix.masked_fill(torch.ones_like(matrix, dtype=torch.bool).tril(), -2)  # below every similarity
        values, places = above.flatten().topk(min(LISTED, len(matrix) * (len(matrix) - 1) // 2))
        pairs = torch.stack([places // len(matrix), places % len(matrix)], 1)
        return cls(matrix[:DRAWN_CLASSES, :DRAWN_CLASSES].float().numpy(), pairs.numpy(), values.float().numpy())


@dataclass(frozen=True)
class Errors:
    """Predictions on the evaluation data by true class.

    Attributes:
        samples: number of samples of each class (K,).
        teacher_right, student_right: number of them that are predicted right (K,).
        confusion: of the student and the first classes (D, D): rows are true classes, columns predicted ones.
        frequent: the student's most frequent errors among all classes (E, 3): true class, predicted class, number.
    """

    samples: np.ndarray
    teacher_right: np.ndarray
    student_right: np.ndarray
    confusion: np.ndarray
    frequent: np.ndarray

    @classmethod
    def of(cls, teacher: Tensor, student: Tensor, labels: Tensor, classes: int) -> Errors:
        """Of predicted class numbers (N,) and the true ones."""
        drawn = min(classes, DRAWN_CLASSES)
        inside = (labels < drawn) & (student < drawn)
        confusion = (labels[inside] * drawn + student[inside]).bincount(minlength=drawn * drawn).view(drawn, drawn)
        wrong, times = torch.stack([labels, student], 1)[labels != student].unique(dim=0, return_counts=True)
        order = times.argsort(descending=True, stable=True)[:LISTED]
        return cls(
            labels.bincount(minlength=classes).numpy(),
            labels[labels == teacher].bincount(minlength=classes).numpy(),
            labels[labels == student].bincount(minlength=classes).numpy(),
            confusion.numpy(),
            torch.cat([wrong, times[:, None]], 1)[order].numpy(),
        )


SHAPES: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "samples.pictures": ("u", ("M", "H", "W", 3)),
    "samples.classes": ("i", ("M",)),
    "samples.confidence": ("f", ("M",)),
    "answers.counts": ("i", ("K",)),
    "answers.confidence": ("f", ("K",)),
    "answers.agreed": ("i", ("K",)),
    "similarity.matrix": ("f", ("D", "D")),
    "similarity.pairs": ("i", ("P", 2)),
    "similarity.values": ("f", ("P",)),
    "errors.samples": ("i", ("K",)),
    "errors.teacher_right": ("i", ("K",)),
    "errors.student_right": ("i", ("K",)),
    "errors.confusion": ("i", ("D", "D")),
    "errors.frequent": ("i", ("E", 3)),
}
"""Array -> kind of its numbers and shape; equal letters are equal sizes."""


@dataclass(frozen=True)
class ReportData:
    """The arrays of one run.

    Attributes:
        samples: held-out samples to show.
        answers: predictions on all held-out samples.
        similarity: of the teacher's classes; None where it has no final fully connected layer.
        errors: on the evaluation data; None without such data.
    """

    samples: ShownSamples
    answers: ClassAnswers
    similarity: Similarity | None
    errors: Errors | None

    def write(self, path: Path) -> None:
        """Write the arrays to an .npz file."""
        arrays = {
            f"{part.name}.{name}": array
            for part in fields(self)
            if getattr(self, part.name) is not None
            for name, array in vars(getattr(self, part.name)).items()
        }
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: Path, classes: int) -> ReportData:
        """The arrays of a file, which need not be trusted.

        Raises:
            UsageError: the file is missing or damaged, or is of another number of classes.
        """
        try:
            arrays = _read(path, classes)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
            raise UsageError(
                f"{path}: missing or damaged ({first_fault(error)}); make the run again with --overwrite"
            ) from error

        def part(kind: type[Any], name: str) -> Any:
            return kind(**{field.name: arrays[f"{name}.{field.name}"] for field in fields(kind)})

        return cls(
            part(ShownSamples, "samples"),
            part(ClassAnswers, "answers"),
            part(Similarity, "similarity") if "similarity.matrix" in arrays else None,
            part(Errors, "errors") if "errors.samples" in arrays else None,
        )


def _read(path: Path, classes: int) -> dict[str, np.ndarray]:
    """The arrays of a file by name, with the shapes of ``SHAPES``; parts that may be missing are whole or absent.

    Raises:
        ValueError, KeyError: an array is missing, too large or of another shape; other exceptions of ``np.load``.
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
    parts = {name.partition(".")[0] for name in sizes} | {"samples", "answers"}
    letters: dict[str | int, int] = {"K": classes, "D": min(classes, DRAWN_CLASSES)}
    arrays = {}
    with np.load(path, allow_pickle=False) as file:
        for name, (kind, shape) in SHAPES.items():
            if name.partition(".")[0] not in parts:
                continue
            if sizes[name] > LARGEST:
                raise ValueError(f"array {name} has {sizes[name]:,} bytes, expected at most {LARGEST:,}")
            array = arrays[name] = file[name]
            expected = [
                letters.setdefault(n, m) if isinstance(n, str) else n for n, m in zip(shape, array.shape, strict=False)
            ]
            if array.dtype.kind != kind or list(array.shape) != expected or len(shape) != array.ndim:
                raise ValueError(f"array {name} has shape {array.shape} and type {array.dtype}")
            largest = classes if name in ("samples.classes", "similarity.pairs") else None
            if not np.isfinite(array).all() or (array.dtype.kind == "i" and array.size and array.min() < 0):
                raise ValueError(f"array {name} has values that no run writes")
            if largest is not None and array.size and array.max() >= largest:
                raise ValueError(f"array {name} has class {array.max()}, expected less than {largest}")
    if "errors.frequent" in arrays and (arrays["errors.frequent"][:, :2] >= classes).any():
        raise ValueError("array errors.frequent has a class that the teacher does not have")
    return arrays
