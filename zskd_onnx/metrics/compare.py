"""A student beside its teacher on the same samples."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    agreement: float
    confident: float
    confident_agreement: float | None
    loss: float
    named: int
    samples: int


@torch.no_grad()
def compare(student: nn.Module, teacher: Teacher, inputs: Tensor, temperature: float = 1.0) -> Comparison:
    """Agreement and soft-target loss of a student on samples.

    Args:
        student: maps (N, *shape) in the unit space to logits (N, K).
        inputs: (N, *shape) in the unit space.
        temperature: of the loss.
    """
    device, view = next(student.parameters()).device, TeacherView(teacher)
    agreed = confident = confident_agreed = 0
    loss = 0.0
    named = torch.zeros(teacher.classes, dtype=torch.bool)
    for part in inputs.split(BATCH):
        x = part.to(device, torch.float32)
        student_logits, teacher_logits = student(x).float(), view.logits(x)
        same = student_logits.argmax(1) == teacher_logits.argmax(1)
        named[student_logits.argmax(1).cpu()] = True
        certain = teacher_logits.softmax(1).amax(1) >= CONFIDENT
        agreed, confident = agreed + int(same.sum()), confident + int(certain.sum())
        confident_agreed += int((same & certain).sum())
        loss += float(soft_target_loss(student_logits, teacher_logits, temperature)) * len(x)
    count = len(inputs)
    share = confident_agreed / confident if confident else None
    return Comparison(agreed / count, confident / count, share, loss / count, int(named.sum()), count)
