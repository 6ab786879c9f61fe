"""Cosine similarity of the teacher's class weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def class_similarity(weight: Tensor) -> Tensor:
    """Cosine similarity of the class templates, which are the rows of the final weights (ZSKD, eq. 4).

    Args:
        weight: weights (K, F) of the final fully connected layer.

    Returns:
        (K, K) in float64: symmetric, with ones on the diagonal.
    """
    rows = F.normalize(weight.detach().to("cpu", torch.float64), dim=1)
    return rows @ rows.T


def concentration(similarity: Tensor, floor: float) -> Tensor:
    """Dirichlet parameters: each row min-max normalised to [0, 1], plus a floor (ZSKD, section 3.2).

    Args:
        similarity: (K, K).
        floor: positive number that is added, because Dirichlet parameters must be positive.

    Returns:
        (K, K); row k is for targets of class k.
    """
    low = similarity.min(dim=1, keepdim=True).values
    high = similarity.max(dim=1, keepdim=True).values
    return (similarity - low) / (high - low).clamp_min(1e-12) + floor
