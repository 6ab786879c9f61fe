"""A student beside its teacher on the same samples."""

from __future__ import annotations

import torch
from torch import nn

from tests.distillation.test_train import fresh
from zskd_onnx.distillation.selection import compare
from zskd_onnx.teacher.teacher import Teacher


def test_agreement_counts(digits: Teacher, inputs: torch.Tensor) -> None:
    """The teacher agrees with itself; with its answers moved on by one it never does."""

    class Same(nn.Module):
        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = nn.Parameter(torch.tensor(float(step)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return digits.logits(digits.domain.to_file(x)).roll(int(self.step), 1)

    assert compare(Same(0), digits, inputs).agreement == 1.0
    assert compare(Same(1), digits, inputs).agreement == 0.0


def test_where_the_teacher_is_sure(digits: Teacher, inputs: torch.Tensor) -> None:
    """Counted by hand, for a student that hardly knows anything."""
    student = fresh()
    found = compare(student, digits, inputs)
    theirs, ours = digits.logits(digits.domain.to_file(inputs.float())), student(inputs.float())
    certain = [i for i, p in enumerate(theirs.softmax(1).tolist()) if max(p) >= 0.9]
    same = [i for i in certain if int(theirs[i].argmax()) == int(ours[i].argmax())]
    assert 0 < len(certain) < len(inputs)
    assert (found.sure, found.sure_agreement) == (len(certain) / len(inputs), len(same) / len(certain))
    assert compare(student, digits, torch.zeros_like(inputs[:3])).sure_agreement is None
