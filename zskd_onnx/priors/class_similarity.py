"""How alike the teacher holds its classes to be."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def class_similarity(weight: Tensor) -> Tensor:
    """Cosine between the class templates, the rows of the final weights (ZSKD, eq. 4).

    Args:
        weight: (K, F).

    Returns:
        (K, K), symmetric, ones on the diagonal, in float64.
    """
    rows = F.normalize(weight.detach().to("cpu", torch.float64), dim=1)
    return rows @ rows.T


def concentration(similarity: Tensor, floor: float) -> Tensor:
    """Dirichlet parameters: each row min-max normalised to [0, 1], plus a floor (ZSKD, section 3.2).

    Args:
        similarity: (K, K).
        floor: added because a Dirichlet parameter must be positive.

    Returns:
        (K, K), row k for targets drawn for class k.
    """
    low = similarity.min(dim=1, keepdim=True).values
    high = similarity.max(dim=1, keepdim=True).values
    return (similarity - low) / (high - low).clamp_min(1e-12) + floor
