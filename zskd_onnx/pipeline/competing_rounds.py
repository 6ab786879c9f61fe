"""Adaptive DeepInversion: students between the rounds of a synthesis (Yin et al. 2020, eq. 7 to 9)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.events import Listener
from zskd_onnx.pipeline.make_transfer_set import TrainBetween
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.train_student import train_student
from zskd_onnx.synthesis.base import Logits


def student_between(plan: Plan, checkpoint: Path, listener: Listener) -> TrainBetween:
    """A function that trains a student on the samples of the rounds so far.

    Args:
        checkpoint: file for the state of its training.
    """

    def train_between(samples: Samples) -> Logits:
        return train_student(replace(plan, evaluation=None), samples, checkpoint, listener).student

    return train_between
