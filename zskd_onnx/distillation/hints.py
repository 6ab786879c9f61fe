"""Features of the teacher as hints for the student's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zskd_onnx.system.randomness import seed_for


class Hints(nn.Module):
    """What the student's final layer reads is to hold what the teacher's final layer reads.

    A map between the two learns beside the student (FitNets, Romero et al. 2015, eq. 3: its regressor), so that they may
    differ in number. It is no part of the student that is exported.
    """

    def __init__(self, student: int, teacher: int, seed: int) -> None:
        """``student`` and ``teacher`` are their numbers of features."""
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed_for(seed, "hints"))
            self.map = nn.Linear(student, teacher)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean squared difference between the teacher's features (N, F) and the map's, as a share of their variance.

        So that one weight suits teachers whose features are of whatever size.
        """
        return F.mse_loss(self.map(student), teacher) / teacher.var().clamp_min(1e-12)
