"""What students and generators are trained by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
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


def attention_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """How far the student looks elsewhere than the teacher (ABM, eq. 2, as its authors' code has it).

    Each block's attention map is the mean over channels of the squared activations, flattened and
    brought to length 1; the loss is the mean squared difference of the maps, summed over blocks.

    Args:
        student, teacher: blocks (N, C, *positions); only the channels may differ in number.
    """
    gaps = [
        (_attention(ours) - _attention(theirs)).square().mean() for ours, theirs in zip(student, teacher, strict=True)
    ]
    return torch.stack(gaps).sum()


def _attention(block: Tensor) -> Tensor:
    return F.normalize(block.square().mean(1).flatten(1), dim=1)
