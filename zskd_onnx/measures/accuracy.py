"""How often a classifier is right, in all and for each class."""

from __future__ import annotations

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
