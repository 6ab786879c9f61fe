"""Accuracy and agreement on real data, computed by onnxruntime as the models will be served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from zskd_onnx.data.npz import EvaluationData
from zskd_onnx.metrics.chance import student_remarks, teacher_remarks
from zskd_onnx.system.onnx_runtime import run

BATCH = 256


@dataclass(frozen=True)
class Accuracies:
    """Fractions in [0, 1].

    Attributes:
        teacher, student: accuracy.
        agreement: share of samples to which both give the same class.
        remarks: warnings where guessing would do as well, see ``metrics.chance``.
    """

    teacher: float
    student: float
    agreement: float
    remarks: tuple[str, ...] = ()


def predict(session: ort.InferenceSession, x: np.ndarray, output: str) -> np.ndarray:
    """Predicted class numbers.

    Args:
        x: samples (N, ...) as the file takes them.
        output: the output with the class scores; a single probability above one half means class 1.

    Returns:
        (N,) int64.
    """
    predictions = []
    for first in range(0, len(x), BATCH):
        (values,) = run(session, x[first : first + BATCH], [output])
        values = values.reshape(len(values), -1)
        predictions.append(values.argmax(1) if values.shape[1] > 1 else (values[:, 0] > 0.5).astype(np.int64))
    return np.concatenate(predictions)


def predict_both(
    teacher: ort.InferenceSession, student: ort.InferenceSession, output: str, data: EvaluationData
) -> tuple[Tensor, Tensor]:
    """Predicted class numbers (N,) of teacher and student; ``output`` is the one with the class scores."""
    of_teacher, of_student = (torch.from_numpy(predict(session, data.x, output)) for session in (teacher, student))
    return of_teacher, of_student


def accuracies(teacher_classes: Tensor, student_classes: Tensor, labels: Tensor, classes: int) -> Accuracies:
    """Accuracy of teacher and student, and their agreement.

    Args:
        teacher_classes, student_classes: predicted class numbers (N,).
        labels: the true ones (N,).
        classes: number of classes.
    """
    return Accuracies(
        teacher=float((teacher_classes == labels).double().mean()),
        student=float((student_classes == labels).double().mean()),
        agreement=float((student_classes == teacher_classes).double().mean()),
        remarks=(
            *teacher_remarks(teacher_classes, labels, classes),
            *student_remarks(teacher_classes, student_classes, classes),
        ),
    )


def score(
    teacher: ort.InferenceSession, student: ort.InferenceSession, output: str, data: EvaluationData, classes: int
) -> Accuracies:
    """Accuracy of both files, and their agreement; see ``predict_both`` and ``accuracies``."""
    return accuracies(*predict_both(teacher, student, output, data), torch.from_numpy(data.y), classes)
