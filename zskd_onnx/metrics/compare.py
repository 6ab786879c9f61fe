"""A student beside its teacher on the same samples."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from zskd_onnx.losses import soft_target_loss
from zskd_onnx.teacher.probes.answers import CONFIDENT
from zskd_onnx.teacher.probes.outputs import BATCH, TeacherView
from zskd_onnx.teacher.teacher import Teacher


@dataclass(frozen=True)
class Comparison:
    """A student beside its teacher; shares are fractions in [0, 1].

    Attributes:
        agreement: share of samples to which both give the same class.
        confident: share of samples of which the teacher is confident, see ``CONFIDENT``.
        confident_agreement: agreement on those; None where there are none.
        loss: mean soft-target loss.
        named: number of classes that the student predicts.
        samples: N.
        teacher_classes, student_classes: predicted class of each sample (N,), on the CPU.
        confidence: the teacher's probability of the class that it predicts, of each sample (N,), on the CPU.
    """

    agreement: float
    confident: float
    confident_agreement: float | None
    loss: float
    named: int
    samples: int
    teacher_classes: Tensor = field(repr=False, compare=False)
    student_classes: Tensor = field(repr=False, compare=False)
    confidence: Tensor = field(repr=False, compare=False)


@torch.no_grad()
def compare(student: nn.Module, teacher: Teacher, inputs: Tensor, temperature: float = 1.0) -> Comparison:
    """Agreement and soft-target loss of a student on samples.

    Args:
        student: maps (N, *shape) in the unit space to logits (N, K).
        inputs: (N, *shape) in the unit space.
        temperature: of the loss.
    """
    device, view = next(student.parameters()).device, TeacherView(teacher)
    loss = 0.0
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for part in inputs.split(BATCH):
        x = part.to(device, torch.float32)
        student_logits, teacher_logits = student(x).float(), view.logits(x)
        confidence = teacher_logits.softmax(1).amax(1)
        parts.append((teacher_logits.argmax(1).cpu(), student_logits.argmax(1).cpu(), confidence.cpu()))
        loss += float(soft_target_loss(student_logits, teacher_logits, temperature)) * len(x)
    teacher_classes, student_classes, confidence = (torch.cat(column) for column in zip(*parts, strict=True))
    same, confident, count = teacher_classes == student_classes, confidence >= CONFIDENT, len(inputs)
    return Comparison(
        agreement=int(same.sum()) / count,
        confident=int(confident.sum()) / count,
        confident_agreement=int((same & confident).sum()) / int(confident.sum()) if confident.any() else None,
        loss=loss / count,
        named=len(student_classes.unique()),
        samples=count,
        teacher_classes=teacher_classes,
        student_classes=student_classes,
        confidence=confidence,
    )
