"""How far the student's probabilities are from the teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def divergence(teacher: Tensor, student: Tensor) -> float:
    """Mean over samples of KL(T || S), in nats.

    Args:
        teacher, student: logits (N, K) of the same samples.
    """
    theirs, ours = teacher.double().log_softmax(1), student.double().log_softmax(1)
    return float(F.kl_div(ours, theirs, log_target=True, reduction="batchmean"))
