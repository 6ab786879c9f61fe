"""Adversarial belief matching (Micaelli & Storkey 2019; Ferles et al. 2020)."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor, nn

from zskd_onnx.generators.base import Generator
from zskd_onnx.losses import soft_target_loss


class Adversarial(Generator):
    """G looks for samples on which the student differs most: it maximises KL(T || S) (ABM, eq. 3).

    Attributes:
        temperature: tau of that divergence; 1 in the paper.
    """

    kind: Literal["adversarial"] = "adversarial"
    temperature: PositiveFloat = 1.0

    def loss(self, x: Tensor, logits: Tensor, inner: tuple[Tensor, ...], student: nn.Module) -> Tensor:
        """See ``Generator.loss``."""
        return -soft_target_loss(student(x), logits, self.temperature)
