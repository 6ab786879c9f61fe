"""Losses that students and generators are trained by: soft targets, attention, features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zskd_onnx.system.randomness import seed_for


def soft_target_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """tau^2 KL(softmax(teacher / tau) || softmax(student / tau)), mean over the batch.

    This is the cross-entropy of ZSKD's eq. 1 minus the teacher's entropy, which has no gradient. The
    factor tau^2 keeps the size of gradients independent of tau (Hinton et al. 2015, section 2).

    Args:
        student, teacher: logits (N, K).
        temperature: tau.
    """
    student_log = F.log_softmax(student / temperature, dim=1)
    teacher_log = F.log_softmax(teacher / temperature, dim=1)
    return F.kl_div(student_log, teacher_log, log_target=True, reduction="batchmean") * temperature**2


def attention_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Attention transfer (ABM, eq. 2, as the authors' code computes it).

    The attention map of each pair is the mean over channels of the squared activations, flattened and
    normalised to length 1. The loss is the mean squared difference of the maps, summed over pairs.

    Args:
        student, teacher: activation maps (N, C, *positions) in pairs; only C may differ within a pair.
    """
    differences = [
        (_attention(student_map) - _attention(teacher_map)).square().mean()
        for student_map, teacher_map in zip(student, teacher, strict=True)
    ]
    return torch.stack(differences).sum()


def _attention(maps: Tensor) -> Tensor:
    return F.normalize(maps.square().mean(1).flatten(1), dim=1)


def block_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of blocks' outputs, each divided by the variance of the teacher's; mean over blocks.

    Args:
        student, teacher: outputs (N, ...) in pairs of equal shape.
    """
    differences = [
        F.mse_loss(student_block, teacher_block) / teacher_block.var().clamp_min(1e-12)
        for student_block, teacher_block in zip(student, teacher, strict=True)
    ]
    return torch.stack(differences).mean()


class FeatureLoss(nn.Module):
    """Feature distillation: the student's features predict the teacher's (FitNets, Romero et al. 2015, eq. 3).

    A linear map from student features to teacher features is trained beside the student, because their
    numbers may differ. It is not part of the exported student.
    """

    def __init__(self, student: int, teacher: int, seed: int) -> None:
        """``student`` and ``teacher`` are their numbers of features."""
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed_for(seed, "hints"))  # the purpose keeps its first name, so that old runs repeat
            self.map = nn.Linear(student, teacher)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean squared difference between mapped student features (N, F) and teacher features (N, F).

        It is divided by the variance of the teacher's features, so that one weight suits all teachers.
        """
        return F.mse_loss(self.map(student), teacher) / teacher.var().clamp_min(1e-12)
