"""Noise samples, a baseline for other kinds of synthesis."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from zskd_onnx.synthesis.base import Logits, OnStep, Synthesis, ignore_step
from zskd_onnx.teacher.teacher import Teacher


class Noise(Synthesis):
    """Independent random values (Wang 2021, table 1, row "Noise input").

    Attributes:
        kind: selects noise samples.
        distribution: "normal" is N(0.5, 0.25^2), clamped to [0, 1]; "uniform" is U(0, 1). The paper draws
            N(0, 1) in the teacher's own input space, where about half of the values leave the input range.
    """

    needs_prior: ClassVar[bool] = False

    kind: Literal["noise"] = "noise"
    distribution: Literal["normal", "uniform"] = "normal"

    @property
    def passes(self) -> int:
        """None: the teacher is not used."""
        return 0

    def make(
        self,
        teacher: Teacher,
        targets: Tensor,
        rng: torch.Generator,
        student: Logits | None = None,
        on_step: OnStep = ignore_step,
        start: Tensor | None = None,
    ) -> Tensor:
        """See ``Synthesis.make``; only the number of targets is used."""
        shape = (len(targets), *teacher.domain.shape)
        if self.distribution == "uniform":
            return torch.rand(shape, generator=rng, device=targets.device)
        return (0.5 + 0.25 * torch.randn(shape, generator=rng, device=targets.device)).clamp_(0, 1)
