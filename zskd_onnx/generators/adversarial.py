"""Adversarial belief matching (Micaelli & Storkey 2019; Ferles et al. 2020)."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor, nn

from zskd_onnx.generators.base import Generator
from zskd_onnx.losses import soft_target_loss


class Adversarial(Generator):
    """A generator that maximises KL(teacher || student): it looks for disagreement (ABM, eq. 3).

    Attributes:
        kind: selects adversarial belief matching.
        temperature: softmax temperature tau of the divergence that the generator maximises; 1 in the paper.
    """

    kind: Literal["adversarial"] = "adversarial"
    temperature: PositiveFloat = 1.0

    def loss(self, x: Tensor, logits: Tensor, activations: tuple[Tensor, ...], student: nn.Module) -> Tensor:
        """See ``Generator.loss``."""
        return -soft_target_loss(student(x), logits, self.temperature)
