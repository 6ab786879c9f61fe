"""Accuracy and agreement on real data, computed by onnxruntime as the models will be served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from zskd_onnx.metrics.chance import student_remarks, teacher_remarks
from zskd_onnx.system.onnx_runtime import run
from zskd_onnx.teacher.signature.output import Output

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


def log_probabilities(session: ort.InferenceSession, x: np.ndarray, output: Output) -> Tensor:
    """Logarithms of the class probabilities that a file gives, (N, K).

    Args:
        x: samples (N, ...) as the file takes them.
        output: the output with the class scores.
    """
    parts = [run(session, x[first : first + BATCH], [output.name])[0] for first in range(0, len(x), BATCH)]
    return torch.cat([output.log_probabilities(part) for part in parts])


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
