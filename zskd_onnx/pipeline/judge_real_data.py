"""Judgement of a user's real samples by the teacher's answers to them, before anything is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.data.npz import EvaluationData
from zskd_onnx.data.real_samples import RealSamples
from zskd_onnx.metrics.chance import teacher_remarks
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.teacher.teacher import Teacher

SAMPLES = 256
"""Largest number of samples that are judged: enough for a binomial test, and quick for large teachers."""


def judge_real_data(teacher: Teacher, evaluation: EvaluationData | None, data: RealSamples | None) -> tuple[str, ...]:
    """Notes on how real samples were read, and warnings where the teacher's answers say that they or the domain are wrong.

    Args:
        evaluation: samples to score on, or None.
        data: samples to train on, or None.
    """
    notes: list[str] = []
    if evaluation is not None:
        rows = slice(None, None, -(-len(evaluation.x) // SAMPLES))  # files are often sorted by class
        inputs = teacher.domain.to_unit(torch.from_numpy(evaluation.x[rows]))
        notes += [*evaluation.notes, *_remarks(teacher, inputs, torch.from_numpy(evaluation.y[rows]))]
    if data is not None:
        labels = None if data.labels is None else data.labels[:SAMPLES]
        notes += [*data.notes, *_remarks(teacher, data.inputs[:SAMPLES], labels)]
    return tuple(dict.fromkeys(notes))


def _remarks(teacher: Teacher, inputs: Tensor, labels: Tensor | None) -> tuple[str, ...]:
    return teacher_remarks(TeacherView(teacher).batched_logits(inputs).argmax(1), labels, teacher.classes)
