"""Metrics of one classifier, or of two on the same samples, from logits (N, K)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest logit is their class's.

    Args:
        logits: (N, K).
        labels: (N,) class numbers.
    """
    return float((logits.argmax(1) == labels).double().mean())


def class_accuracy(logits: Tensor, labels: Tensor) -> tuple[float | None, ...]:
    """The accuracy on the samples of each class, K fractions; None where a class has no sample.

    Args:
        logits: (N, K).
        labels: (N,) class numbers.
    """
    classes = logits.shape[1]
    samples = labels.bincount(minlength=classes)
    right = labels[logits.argmax(1) == labels].bincount(minlength=classes)
    return tuple(r / n if n else None for r, n in zip(right.tolist(), samples.tolist(), strict=True))


def agreement(teacher: Tensor, student: Tensor) -> float:
    """Share of samples on which both have the same largest logit.

    Args:
        teacher, student: logits (N, K) of the same samples.
    """
    return float((teacher.argmax(1) == student.argmax(1)).double().mean())


def divergence(teacher: Tensor, student: Tensor) -> float:
    """Mean over samples of KL(T || S), in nats.

    Args:
        teacher, student: logits (N, K) of the same samples.
    """
    teacher_log, student_log = teacher.double().log_softmax(1), student.double().log_softmax(1)
    return float(F.kl_div(student_log, teacher_log, log_target=True, reduction="batchmean"))


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3), a fraction.

    Samples fall into bins of equal width by their confidence, the largest probability. Each bin
    adds |accuracy - mean confidence|, weighted with its share of the samples.

    Args:
        logits: (N, K).
        labels: (N,) class numbers.
        bins: B; the b-th bin is ((b - 1) / B, b / B].
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    number = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = (predicted == labels).double() - confidence
    # |accuracy - confidence| times the bin's samples is the size of the sum of its gaps.
    sums = torch.zeros(bins, dtype=gap.dtype, device=gap.device).index_add(0, number, gap)
    return float(sums.abs().sum() / len(logits))
