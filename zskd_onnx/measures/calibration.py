"""Whether a classifier is right as often as it says."""

from __future__ import annotations

import torch
from torch import Tensor


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
