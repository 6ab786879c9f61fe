"""Distillation losses."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_target_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """tau^2 KL(softmax(teacher / tau) || softmax(student / tau)), mean over the batch.

    The cross-entropy of ZSKD's eq. 1 less the teacher's entropy, which has no gradient. The
    factor keeps gradients of one size whatever the temperature (Hinton et al. 2015, section 2).

    Args:
        student, teacher: logits (N, K).
    """
    ours = F.log_softmax(student / temperature, dim=1)
    theirs = F.log_softmax(teacher / temperature, dim=1)
    return F.kl_div(ours, theirs, log_target=True, reduction="batchmean") * temperature**2
