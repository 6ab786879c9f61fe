"""How often two classifiers name the same class."""

from __future__ import annotations

from torch import Tensor


def agreement(teacher: Tensor, student: Tensor) -> float:
    """Share of samples on which both have the same largest logit.

    Args:
        teacher, student: logits (N, K) of the same samples.
    """
    return float((teacher.argmax(1) == student.argmax(1)).double().mean())
