"""Data impressions: inputs optimised until the teacher answers with the soft target.

Nayak et al. 2019, Zero-Shot Knowledge Distillation, eq. 6 and section 3.3. Two options make it Wang
2021's synthesis (``activation``) and class impressions (``confidence``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator
from torch import Tensor

from zskd_onnx.settings import Requirement
from zskd_onnx.synthesis.base import Student, Synthesis
from zskd_onnx.synthesis.coarse_grid import Grid
from zskd_onnx.synthesis.descent import descend_each
from zskd_onnx.synthesis.objectives import activation_loss, target_loss
from zskd_onnx.teacher.probes.probe import last_convolution_probe
from zskd_onnx.teacher.teacher import Teacher

CHUNK_BATCHES = 10
"""Batches that go through the places of one where samples end one by one."""

Share = Annotated[float, Field(gt=0, le=1)]

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From samples on the grid and targets (N, K) to the loss, summed over samples, and logits (N, K)."""


class Impressions(Synthesis):
    """x* = argmin_x CE(y, softmax(T(x) / tau)) + l2 / 2 * |x|^2, from noise, with Adam.

    Wang 2021 minimises KL(y || softmax(T(x) / tau)); its gradient is the same.

    Attributes:
        iterations: steps of Adam for each sample; with ``confidence`` the most that one takes.
        learning_rate: of Adam, in units of the unit space.
        temperature: tau.
        l2: weight of the squared norm of each sample on the grid that it is optimised on, see ``resolution``:
            the coarser the grid, the fewer values count.
        activation: lambda_a of Wang 2021, eq. 10: how much the last convolution's output is to be
            active, 0.05 to 0.1 in the paper; see ``losses.activation_loss``. Both terms are means over
            the batch there and sums here: the balance is the same, and samples stay independent.
        confidence: class impressions (Mopuri et al. 2018; ZSKD supplement, 0.55 to 0.70): every
            sample draws a value from U(low, high) and ends once softmax(T(x)) at tau = 1 gives that
            much to the class its target is highest at. Take ``clip: step``: what is judged is x before
            a last clip, after which 14 % of LeNet-5's were still as sure. None takes ``iterations``
            steps for all.
        start: noise to start from, "normal" N(0, 1) or "uniform" U(0, 1).
        clip: when values are brought into [0, 1]: "end", once after the last step, or "step".
        resolution: images, sequences and volumes are optimised on a grid of this share of their
            sides and enlarged linearly, each batch at one of the values by chance. Impressions at full
            resolution are noise that no photograph or scan resembles; a coarse grid makes them
            smooth. Not in the paper, where it is 1.
    """

    kind: Literal["impressions"] = "impressions"
    iterations: PositiveInt = 50
    learning_rate: PositiveFloat = 1.0
    temperature: PositiveFloat = 20.0
    l2: NonNegativeFloat = 1e-3
    activation: NonNegativeFloat = 0.0
    confidence: tuple[Share, Share] | None = None
    start: Literal["normal", "uniform"] = "normal"
    clip: Literal["end", "step"] = "end"
    resolution: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.375, 0.5)

    @field_validator("confidence")
    @classmethod
    def _ascends(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"expected a low and a high end, such as [0.55, 0.7], not {list(value)}")
        return value

    @property
    def needs(self) -> dict[Requirement, str]:
        """See ``Settings.needs``."""
        return {"convolution": "activation"} if self.activation else {}

    @property
    def chunk(self) -> int:
        """See ``Synthesis.chunk``: more than a batch where samples end one by one."""
        return self.effective_batch_size * (CHUNK_BATCHES if self.ends_early else 1)

    @property
    def passes(self) -> int:
        """One for each iteration, at most."""
        return self.iterations

    @property
    def ends_early(self) -> bool:
        """With ``confidence``."""
        return self.confidence is not None

    def make(
        self, teacher: Teacher, targets: Tensor, generator: torch.Generator, student: Student | None = None
    ) -> Tensor:
        """See ``Synthesis.make``.

        Raises:
            UnsupportedTeacherError: ``activation`` is set and the teacher has no convolution.
        """
        shape, share = teacher.domain.shape, 1.0
        if len(shape) > 1:
            chosen = torch.randint(len(self.resolution), (), generator=generator, device=generator.device)
            share = self.resolution[int(chosen)]
        grid = Grid(shape, share, targets.device)
        noise = torch.randn if self.start == "normal" else torch.rand
        x = noise((len(targets), *grid.shape), generator=generator, device=targets.device)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        objective = self._objective(teacher, grid)
        if self.confidence is None:
            x = self._descend(x, targets, objective)
        else:
            x = self._descend_each(x, targets, objective, self.confidence, generator)
        return grid.enlarge(x).clamp_(0, 1)

    def _objective(self, teacher: Teacher, grid: Grid) -> Objective:
        probe = last_convolution_probe(teacher) if self.activation else None

        def objective(x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            inputs = teacher.domain.to_file(grid.enlarge(x))
            logits, inner = (teacher.logits(inputs), ()) if probe is None else probe(inputs)
            logits = logits.float()
            loss = target_loss(logits, targets, self.temperature)
            for activations in inner:
                loss = loss + self.activation * activation_loss(activations)
            if self.l2:
                loss = loss + 0.5 * self.l2 * x.square().sum()
            return loss, logits

        return objective

    def _descend(self, x: Tensor, targets: Tensor, objective: Objective) -> Tensor:
        """The same number of steps for all samples."""
        x.requires_grad_()
        # A fresh optimiser for each batch: moments belong to these samples alone.
        optimiser = torch.optim.Adam([x], lr=self.learning_rate, fused=True)
        for _ in range(self.iterations):
            x.grad = torch.autograd.grad(objective(x, targets)[0], x)[0]
            optimiser.step()
            if self.clip == "step":
                x.data.clamp_(0, 1)
        return x.detach()

    def _descend_each(
        self,
        x: Tensor,
        targets: Tensor,
        objective: Objective,
        confidence: tuple[float, float],
        generator: torch.Generator,
    ) -> Tensor:
        """Until the teacher is as sure of each sample's class as a draw for that sample says."""
        low, high = confidence
        wanted = low + (high - low) * torch.rand(len(x), generator=generator, device=x.device)
        classes = targets.argmax(1)

        def look(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            x.requires_grad_()
            loss, logits = objective(x, targets[rows])
            (gradient,) = torch.autograd.grad(loss, x)
            sure = logits.detach().softmax(1).gather(1, classes[rows, None]).squeeze(1)
            return gradient, sure >= wanted[rows]

        return descend_each(
            x,
            look,
            slots=self.effective_batch_size,
            iterations=self.iterations,
            learning_rate=self.learning_rate,
            clip=self.clip == "step",
        )
