"""Accuracy and agreement on real data, computed by onnxruntime as the models will be served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch

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


def score(
    teacher: ort.InferenceSession, student: ort.InferenceSession, output: str, data: EvaluationData, classes: int
) -> Accuracies:
    """Accuracy of both files, and their agreement.

    Args:
        output: the output with the class scores.
        classes: number of classes.
    """
    teacher_classes, student_classes = (
        torch.from_numpy(predict(session, data.x, output)) for session in (teacher, student)
    )
    labels = torch.from_numpy(data.y)
    return Accuracies(
        teacher=float((teacher_classes == labels).double().mean()),
        student=float((student_classes == labels).double().mean()),
        agreement=float((student_classes == teacher_classes).double().mean()),
        remarks=(
            *teacher_remarks(teacher_classes, labels, classes),
            *student_remarks(teacher_classes, student_classes, classes),
        ),
    )
