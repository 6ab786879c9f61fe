"""One-hot targets, as for class impressions (Mopuri et al. 2018; the baseline of ZSKD, section 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.priors.base import Prior, Sampler
from zskd_onnx.teacher.teacher import Teacher


class OneHot(Prior):
    """One-hot targets e_k, for each class in turn.

    Attributes:
        kind: selects one-hot targets.
    """

    kind: Literal["one_hot"] = "one_hot"

    def sampler(self, teacher: Teacher) -> Sampler:
        """See ``Prior.sampler``; nothing is random."""

        def draw(first: int, count: int, rng: torch.Generator) -> Tensor:
            return F.one_hot(torch.arange(first, first + count) % teacher.classes, teacher.classes).float()

        return draw
