"""A student beside its teacher on the same samples."""

from __future__ import annotations

import torch
from torch import nn

from tests.distillation.test_train import new_student
from zskd_onnx.metrics.compare import compare
from zskd_onnx.teacher.teacher import Teacher


def test_agreement_counts(digits: Teacher, inputs: torch.Tensor) -> None:
    """The teacher agrees with itself, and never with its own logits rolled by one class."""

    class RolledTeacher(nn.Module):
        """The teacher's logits, rolled by a number of classes."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = nn.Parameter(torch.tensor(float(step)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return digits.logits(digits.domain.to_file(x)).roll(int(self.step), 1)

    assert compare(RolledTeacher(0), digits, inputs).agreement == 1.0
    assert compare(RolledTeacher(1), digits, inputs).agreement == 0.0


def test_confident_agreement(digits: Teacher, inputs: torch.Tensor) -> None:
    """Against a count by hand, for an untrained student."""
    student = new_student()
    comparison = compare(student, digits, inputs)
    teacher_logits, student_logits = digits.logits(digits.domain.to_file(inputs.float())), student(inputs.float())
    certain = [i for i, p in enumerate(teacher_logits.softmax(1).tolist()) if max(p) >= 0.9]
    same = [i for i in certain if int(teacher_logits[i].argmax()) == int(student_logits[i].argmax())]
    assert 0 < len(certain) < len(inputs)
    assert (comparison.confident, comparison.confident_agreement) == (
        len(certain) / len(inputs),
        len(same) / len(certain),
    )
    assert compare(student, digits, torch.zeros_like(inputs[:3])).confident_agreement is None
