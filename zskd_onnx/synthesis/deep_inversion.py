"""DeepInversion: samples with the batch statistics that the teacher's batch normalisations have stored.

Yin et al. 2020, Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion, eq. 2-9.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.settings import Requirement
from zskd_onnx.synthesis.base import Logits, OnStep, Synthesis, ignore_step
from zskd_onnx.synthesis.objectives import competition_loss, statistics_loss, target_loss, total_variation
from zskd_onnx.teacher.probes.probe import BatchNormProbe, batch_norm_probe
from zskd_onnx.teacher.teacher import Teacher

Share = Annotated[float, Field(ge=0, le=1)]


class DeepInversion(Synthesis):
    """Adam minimises CE + a_tv TV + a_l2 |x|^2 + a_bn R_bn + a_c R_compete over x, starting from noise.

    The cross-entropy CE is at temperature 1. R_bn compares the mean and variance of the batch at each
    batch normalisation with the stored ones. So samples of a batch depend on each other, ``batch_size``
    affects the result, and the targets of a batch should cover all classes.

    Attributes:
        kind: selects DeepInversion. The teacher must have batch normalisation.
        batch_size: number of samples whose joint statistics are matched. Larger batches match them better
            and take more memory.
        iterations: number of Adam steps per batch. Synthesis time grows in proportion.
        learning_rate: learning rate of Adam, in units of the unit space.
        total_variation: weight a_tv of the total variation in the unit space. Raise it for smoother images.
        l2: weight a_l2 of the squared L2 norm in the teacher's own input range. It pulls normalised
            inputs towards the mean image.
        statistics: weight a_bn of the batch-normalisation statistics. The authors use 10 for CIFAR-10.
        competition: weight a_c of the competition term (Adaptive DeepInversion). After the first round, it
            favours samples on which the student trained so far disagrees with the teacher.
        competing_rounds: number of rounds with the competition term after the first round; all have the
            same size. 0 is plain DeepInversion.
        jitter: largest circular shift of the batch, as a share of each side; every step draws one.
        flip: probability that a step mirrors images left to right. Set it to 0 for digits and other
            classes whose mirror image means something else.
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
        """One per iteration."""
        return self.iterations

    def make(
        self,
        teacher: Teacher,
        targets: Tensor,
        rng: torch.Generator,
        student: Logits | None = None,
        on_step: OnStep = ignore_step,
        start: Tensor | None = None,
    ) -> Tensor:
        """See ``Synthesis.make``.

        Raises:
            UnsupportedTeacherError: the teacher has no batch normalisation.
        """
        probe = _probe(teacher)
        shape = teacher.domain.shape
        noise = torch.randn((len(targets), *shape), generator=rng, device=targets.device)
        x = (0.5 + 0.25 * noise).clamp_(0, 1).requires_grad_()
        rolls, mirrored = self._draw_transforms(shape, rng)
        optimiser = torch.optim.Adam([x], lr=self.learning_rate, fused=True)
        for offsets, mirror in zip(rolls, mirrored, strict=True):
            on_step()
            transformed = x.roll(offsets, tuple(range(2, x.ndim))) if offsets else x
            if mirror and teacher.domain.is_image:
                transformed = transformed.flip(-1)
            x.grad = torch.autograd.grad(self._loss(teacher, probe, transformed, targets, student), x)[0]
            optimiser.step()
            x.data.clamp_(0, 1)
        return x.detach()

    def _draw_transforms(self, shape: tuple[int, ...], rng: torch.Generator) -> tuple[list[list[int]], list[bool]]:
        """Circular shifts along the spatial axes and whether to mirror, for every step.

        All are drawn at once, so that no step waits for the device.
        """
        largest = torch.tensor([int(self.jitter * side) for side in shape[1:]], device=rng.device)
        random = torch.rand((self.iterations, len(shape)), generator=rng, device=rng.device)
        rolls = (random[:, 1:] * (2 * largest + 1)).long() - largest
        return rolls.tolist(), (random[:, 0] < self.flip).tolist()

    def _loss(
        self, teacher: Teacher, probe: BatchNormProbe, x: Tensor, targets: Tensor, student: Logits | None
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
        raise UnsupportedTeacherError(
            f"{error}; the synthesis kinds impressions and noise need no batch normalisation"
        ) from error
