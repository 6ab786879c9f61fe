"""A classifier's predictions on many samples in figures: how many classes, how evenly, how confidently."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

CONFIDENT = 0.9
"""Least probability of the predicted class, at temperature 1, for a prediction to count as confident."""

TOO_FLAT = 0.1
"""Share of the way from chance to certainty that the mean confidence must exceed."""

PLAUSIBLE_SPREAD = (0.5, 25.0)
"""Standard deviations of logits over samples in the right domain; 3 to 6 were measured on five teachers for images."""


@dataclass(frozen=True)
class Answers:
    """A classifier's predictions on samples.

    Attributes:
        classes: K.
        samples: N.
        named: number of classes that at least one sample is predicted as.
        entropy: entropy of the histogram of predicted classes, relative to the largest possible, log min(K, N).
        commonest: the class that is predicted most.
        confident: share of samples whose predicted class has a probability of at least ``CONFIDENT``.
        mean_confidence: mean probability of the predicted class.
        spread: standard deviation of a class's logit over samples, averaged over classes; logits of a
            sample have mean 0.
    """

    classes: int
    samples: int
    named: int
    entropy: float
    commonest: int
    confident: float
    mean_confidence: float
    spread: float

    def __str__(self) -> str:
        return f"{self.named:,} of {self.classes:,} classes, {100 * self.confident:.0f} % confident"

    def to_dict(self) -> dict[str, float]:
        """The JSON; a spread that is not finite becomes 0."""
        content = asdict(self)
        return {key: value if math.isfinite(value) else 0.0 for key, value in content.items()}

    def collapse(self, kind: str = "samples") -> str | None:
        """Why no student can be distilled from such predictions, or None.

        That is so where fewer than half of the classes appear that as many predictions at random would
        name, or where the mean confidence is next to chance.

        Args:
            kind: of the samples, such as "synthesised samples".
        """
        at_random = self.classes * (1 - (1 - 1 / self.classes) ** self.samples)
        if self.named < max(2.0, at_random / 2):
            return f"the teacher predicts only {self.named:,} of {self.classes:,} classes on {self.samples:,} {kind}"
        chance = 1 / self.classes
        if self.mean_confidence < chance + TOO_FLAT * (1 - chance):
            return (
                f"the teacher's mean confidence on {self.samples:,} {kind} is {100 * self.mean_confidence:.0f} %, "
                f"next to chance ({100 * chance:.0f} %)"
            )
        return None

    @property
    def doubt(self) -> str | None:
        """What makes the input range doubtful although the predictions have not collapsed, or None."""
        low, high = PLAUSIBLE_SPREAD
        if low <= self.spread <= high:
            return None
        size = "small" if self.spread < low else "large"
        return (
            f"the teacher's logits have a standard deviation of {self.spread:.3g}, where {low:g} to {high:g} is usual; "
            f"the input range is probably too {size}"
        )


@torch.no_grad()
def summarise(logits: Tensor) -> Answers:
    """The figures of logits (N, K), N at least 1."""
    logits = logits.detach().float().cpu()
    count, classes = logits.shape
    predicted = Counter(logits.argmax(1).tolist())
    shares = torch.tensor([n / count for n in predicted.values()], dtype=torch.float64)
    probabilities = logits.softmax(1).amax(1)
    centred = logits - logits.mean(1, keepdim=True)
    return Answers(
        classes=classes,
        samples=count,
        named=len(predicted),
        entropy=float(torch.special.entr(shares).sum()) / max(math.log(min(classes, count)), math.log(2)),
        commonest=predicted.most_common(1)[0][0],
        confident=float((probabilities >= CONFIDENT).float().mean()),
        mean_confidence=float(probabilities.mean()),
        spread=float(centred.std(0, correction=0).mean()),
    )
