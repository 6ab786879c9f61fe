"""Noise: inputs that nobody optimised, the floor that other ways are measured against."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from zskd_onnx.synthesis.base import Student, Synthesis
from zskd_onnx.teacher.teacher import Teacher


class Noise(Synthesis):
    """Every value is drawn alone (Wang 2021, table 1, row "Noise input").

    Attributes:
        distribution: "normal", N(0.5, 0.25) clipped to the unit space, or "uniform", U(0, 1). The
            paper draws N(0, 1) in the file's space, which leaves most ranges for half of the values.
    """

    needs_prior: ClassVar[bool] = False

    kind: Literal["noise"] = "noise"
    distribution: Literal["normal", "uniform"] = "normal"

    @property
    def passes(self) -> int:
        """None."""
        return 0

    def make(
        self, teacher: Teacher, targets: Tensor, generator: torch.Generator, student: Student | None = None
    ) -> Tensor:
        """See ``Synthesis.make``; targets only say how many."""
        shape = (len(targets), *teacher.domain.shape)
        if self.distribution == "uniform":
            return torch.rand(shape, generator=generator, device=targets.device)
        return (0.5 + 0.25 * torch.randn(shape, generator=generator, device=targets.device)).clamp_(0, 1)
