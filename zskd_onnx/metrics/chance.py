"""Answers that guessing would give as well, in words for the notes of a result."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEVEL = 0.01
"""Largest probability of an error that a judgement may have."""

NEAR = 0.1
"""Of the way from chance to perfection, the part that still counts as near chance."""


def near_chance(right: int, samples: int, classes: int) -> bool:
    """Whether a share of right answers is near that of guessing, as far as so many samples can tell.

    Two binomial tests decide: the count does not exceed what a classifier near chance reaches in 99 of 100 cases, and a
    classifier halfway between chance and perfection would have more in 99 of 100 cases.

    Args:
        right: number of right answers.
        samples: number of answers.
        classes: K; guessing is right on 1 / K.
    """
    chance = 1 / classes
    near, halfway = (chance + part * (1 - chance) for part in (NEAR, 0.5))
    return _at_least(right, samples, near) > LEVEL and 1 - _at_least(right + 1, samples, halfway) < LEVEL


def teacher_remarks(predicted: Tensor, labels: Tensor | None, classes: int) -> tuple[str, ...]:
    """Warnings where a teacher's answers to real samples say that data or domain are wrong.

    Args:
        predicted: class numbers (N,).
        labels: the true ones (N,), or None.
        classes: K.
    """
    if labels is not None and near_chance(int((predicted == labels).sum()), len(labels), classes):
        return (
            f"the teacher's accuracy on the real samples is near chance, {100 / classes:.2f} %: the samples, their labels or "
            "the input domain are wrong; compare the values of x and the order of the classes with the teacher's training, "
            "and set --input-range, --mean and --std, or --layout",
        )
    if _names_one(predicted, classes) and (labels is None or len(labels.unique()) > 1):
        return (
            f"the teacher answers class {int(predicted[0])} to all real samples: if they are of several classes, the "
            "values of x or the input domain are wrong; see --input-range, --mean and --std",
        )
    return ()


def student_remarks(teacher: Tensor, student: Tensor, classes: int) -> tuple[str, ...]:
    """Warnings where a student's answers say that it is of no use.

    Args:
        teacher, student: class numbers (N,) of the same samples.
        classes: K.
    """
    remarks = []
    if _names_one(student, classes):
        remarks.append(
            f"the student answers class {int(student[0])} to all {len(student):,} samples; its agreement and accuracy are "
            "those of a constant"
        )
    if near_chance(int((teacher == student).sum()), len(teacher), classes):
        remarks.append(
            f"the agreement on {len(student):,} samples is near chance, {100 / classes:.2f} %: the student is of no use on "
            "them; it was made in another input domain, or from a teacher that answers otherwise"
        )
    return tuple(remarks)


def _names_one(predicted: Tensor, classes: int) -> bool:
    """Whether all answers are one class, and guesses would hardly be."""
    return len(predicted.unique()) == 1 and math.log(classes) * (len(predicted) - 1) > -math.log(LEVEL)


def _at_least(count: int, samples: int, share: float) -> float:
    """The probability of ``count`` or more successes among ``samples``, each with probability ``share``."""
    k = torch.arange(count, samples + 1, dtype=torch.float64)
    n = torch.tensor(samples, dtype=torch.float64)
    ways = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return float((ways + k * math.log(share) + (n - k) * math.log1p(-share)).exp().sum())
