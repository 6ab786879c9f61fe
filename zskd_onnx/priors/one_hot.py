"""One-hot targets: class impressions (Mopuri et al. 2018; ZSKD, section 3.2, as the baseline)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.priors.base import Prior, Sampler
from zskd_onnx.teacher.teacher import Teacher


class OneHot(Prior):
    """y = e_k, the classes in turn."""

    kind: Literal["one_hot"] = "one_hot"

    def sampler(self, teacher: Teacher) -> Sampler:
        """See ``Prior.sampler``; it draws nothing."""

        def draw(first: int, count: int, generator: torch.Generator) -> Tensor:
            return F.one_hot(torch.arange(first, first + count) % teacher.classes, teacher.classes).float()

        return draw
