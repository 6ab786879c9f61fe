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


def score(
    teacher: ort.InferenceSession, student: ort.InferenceSession, output: Output, data: EvaluationData
) -> Accuracies:
    """Accuracy of both files, and their agreement.

    Args:
        output: the output with the class scores.
    """
    teacher_classes, student_classes = (
        log_probabilities(session, data.x, output).argmax(1) for session in (teacher, student)
    )
    labels = torch.from_numpy(data.y)
    return Accuracies(
        teacher=float((teacher_classes == labels).double().mean()),
        student=float((student_classes == labels).double().mean()),
        agreement=float((student_classes == teacher_classes).double().mean()),
        remarks=(
            *teacher_remarks(teacher_classes, labels, output.classes),
            *student_remarks(teacher_classes, student_classes, output.classes),
        ),
    )
