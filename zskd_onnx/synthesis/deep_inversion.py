"""DeepInversion: inputs whose statistics are those that batch normalisation remembers.

Yin et al. 2020, Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion, eq. 2-9.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.settings import Requirement
from zskd_onnx.synthesis.base import Student, Synthesis
from zskd_onnx.synthesis.objectives import competition_loss, statistics_loss, target_loss, total_variation
from zskd_onnx.teacher.probes.probe import BatchNormProbe, batch_norm_probe
from zskd_onnx.teacher.teacher import Teacher

Share = Annotated[float, Field(ge=0, le=1)]


class DeepInversion(Synthesis):
    """argmin_x CE + a_tv TV + a_l2 |x|^2 + a_bn R_bn + a_c R_compete, from noise, with Adam.

    CE is at tau = 1. Every term is a mean over the batch or speaks of the batch as a whole: its mean
    and variance at each batch normalisation are to be those of the training data. So samples of one
    batch depend on each other, ``batch_size`` matters, and targets should hold all classes.

    Attributes:
        iterations: steps of Adam.
        learning_rate: of Adam, in units of the unit space.
        total_variation: a_tv, of the sample in the unit space; see ``losses.total_variation``.
        l2: a_l2, of the sample as the file takes it: it draws normalised inputs to the mean image.
        statistics: a_bn; the authors take 10 for CIFAR-10.
        competition: a_c (Adaptive DeepInversion): after the first round, inputs are sought on which the
            student of the rounds before disagrees with the teacher.
        competing_rounds: how many rounds follow the first, each as large; 0 is plain DeepInversion.
        jitter: every step the batch is rolled by up to this share of its sides.
        flip: how often a step sees images mirrored left to right; 0 for digits and other inputs
            whose mirror image is another thing.
    """

    kind: Literal["deep-inversion"] = "deep-inversion"
    batch_size: PositiveInt = 128
    iterations: PositiveInt = 2000
    learning_rate: PositiveFloat = 0.05
    total_variation: NonNegativeFloat = 2.5e-5
    l2: NonNegativeFloat = 3e-8
    statistics: NonNegativeFloat = 10.0
    competition: NonNegativeFloat = 10.0
    competing_rounds: NonNegativeInt = 0
    jitter: Share = 0.0625
    flip: Share = 0.5

    @property
    def needs(self) -> dict[Requirement, str]:
        """See ``Settings.needs``."""
        return {"batch_norm": "kind"}

    @property
    def rounds(self) -> int:
        """See ``Synthesis.rounds``."""
        return 1 + self.competing_rounds

    @property
    def passes(self) -> int:
        """One for each iteration."""
        return self.iterations

    def make(
        self, teacher: Teacher, targets: Tensor, generator: torch.Generator, student: Student | None = None
    ) -> Tensor:
        """See ``Synthesis.make``.

        Raises:
            UnsupportedTeacherError: no batch normalisation is left in the teacher.
        """
        probe = _probe(teacher)
        shape = teacher.domain.shape
        noise = torch.randn((len(targets), *shape), generator=generator, device=targets.device)
        x = (0.5 + 0.25 * noise).clamp_(0, 1).requires_grad_()
        rolls, mirrored = self._moves(shape, generator)
        optimiser = torch.optim.Adam([x], lr=self.learning_rate, fused=True)
        for offsets, mirror in zip(rolls, mirrored, strict=True):
            seen = x.roll(offsets, tuple(range(2, x.ndim))) if offsets else x
            if mirror and teacher.domain.is_image:
                seen = seen.flip(-1)
            x.grad = torch.autograd.grad(self._loss(teacher, probe, seen, targets, student), x)[0]
            optimiser.step()
            x.data.clamp_(0, 1)
        return x.detach()

    def _moves(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[list[list[int]], list[bool]]:
        """For every step how far to roll each spatial axis and whether to mirror, drawn at once: no step waits."""
        most = torch.tensor([int(self.jitter * side) for side in shape[1:]], device=generator.device)
        random = torch.rand((self.iterations, len(shape)), generator=generator, device=generator.device)
        rolls = (random[:, 1:] * (2 * most + 1)).long() - most
        return rolls.tolist(), (random[:, 0] < self.flip).tolist()

    def _loss(
        self, teacher: Teacher, probe: BatchNormProbe, x: Tensor, targets: Tensor, student: Student | None
    ) -> Tensor:
        inputs = teacher.domain.to_file(x)
        logits, values = probe(inputs)
        loss = target_loss(logits, targets, 1.0) / len(x)
        loss = loss + self.statistics * statistics_loss(values, probe.statistics)
        loss = loss + self.total_variation * total_variation(x)
        loss = loss + self.l2 * inputs.square().sum() / len(x)
        if student is not None:
            loss = loss + self.competition * competition_loss(logits, student(x))
        return loss


def _probe(teacher: Teacher) -> BatchNormProbe:
    try:
        return batch_norm_probe(teacher)
    except UnsupportedTeacherError as error:
        raise UnsupportedTeacherError(f"{error}; synthesis kinds that do not: impressions, noise") from error
