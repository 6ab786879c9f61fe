"""Data impressions: samples that are optimised until the teacher's output matches a soft target.

Nayak et al. 2019, Zero-Shot Knowledge Distillation, eq. 6 and section 3.3. Two options give other methods:
``activation`` the synthesis of Wang 2021, ``confidence`` class impressions (Mopuri et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator
from torch import Tensor

from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.settings import Requirement
from zskd_onnx.synthesis.base import Logits, OnStep, Synthesis, ignore_step
from zskd_onnx.synthesis.choose_starts import choose_starts
from zskd_onnx.synthesis.coarse_grid import CoarseGrid
from zskd_onnx.synthesis.descent import descend_each, most_passes
from zskd_onnx.synthesis.objectives import activation_loss, target_loss
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.teacher.probes.probe import last_convolution_probe
from zskd_onnx.teacher.teacher import Teacher

CHUNK_BATCHES = 10
"""Most batches per chunk when samples stop one by one: a sample that stops is replaced by the next one of the chunk."""

CHUNK_WORK, USUAL_PASSES = 10**12, 50
"""Most multiply-adds of a chunk's forward passes, about a minute, because a run that is killed loses a chunk; and the number of
passes that a sample usually takes."""

Share = Annotated[float, Field(gt=0, le=1)]

Unit = Callable[[Tensor, Tensor], Tensor]
"""From optimised values on the grid and the indices of their samples to samples (N, *shape) of the unit space."""

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From the same to the loss, summed over samples, and logits (N, K)."""

Bounds = tuple[float, float] | None
"""Range of the optimised values."""


class Impressions(Synthesis):
    """Adam minimises CE(y, softmax(T(x) / tau)) + l2 / 2 * |x|^2 over x, starting from noise.

    Wang 2021 minimises KL(y || softmax(T(x) / tau)), which has the same gradient.

    Attributes:
        kind: selects data impressions.
        iterations: number of Adam steps per sample. With ``confidence`` it is the largest number. The ZSKD
            paper takes 1500; synthesis time grows in proportion.
        learning_rate: learning rate of Adam, in units of the unit space.
        temperature: softmax temperature tau of the objective. The ZSKD paper uses 20.
        l2: weight of the squared L2 norm of a sample, measured on the grid of ``resolution``. It keeps
            values small, as on a dark background. The paper has no such term.
        activation: weight lambda_a of large outputs of the last convolution (Wang 2021, eq. 10). The paper
            uses 0.05 to 0.1. 0 leaves the term out; otherwise the teacher must have a convolution.
        confidence: range [low, high] of the confidence at which samples stop: class impressions (Mopuri et
            al. 2018; the ZSKD supplement uses 0.55 to 0.70). Each sample draws its threshold from
            U(low, high), and stops when the teacher gives its class that probability at temperature 1.
            Combine it with ``clamp: step``, because a clamp at the end would change the confidence. None
            runs ``iterations`` steps for every sample.
        start: "normal" and "uniform" start from noise, N(0, 1) and U(0, 1); "procedural" starts from procedural
            images, whose kinds and shares section ``procedural`` has. A few steps from there cross the teacher's
            boundaries between classes. What is optimised is the change of the image, and samples stay in [0, 1] whatever
            ``clamp`` is. Vectors have no such images.
        candidates: number of procedural images that are drawn for each sample. The sample starts from one that the teacher
            predicts as its class, or else from the one with the highest probability of it, see ``choose_starts``.
        radius: largest change of a value of a procedural image, in the unit space; None for any.
        clamp: when values are clamped to [0, 1]: "end" after the last step, "step" after every step.
        resolution: sizes of the grid on which samples are optimised, as shares of their sides; each batch
            draws one of them. The result is enlarged linearly, so small shares give smooth samples.
            At 1, the paper's value, impressions look like noise. Vectors have no grid.
    """

    kind: Literal["impressions"] = "impressions"
    iterations: PositiveInt = 50
    learning_rate: PositiveFloat = 1.0
    temperature: PositiveFloat = 20.0
    l2: NonNegativeFloat = 1e-3
    activation: NonNegativeFloat = 0.0
    confidence: tuple[Share, Share] | None = None
    start: Literal["normal", "uniform", "procedural"] = "normal"
    candidates: Annotated[int, Field(gt=0, le=1000)] = 1
    radius: PositiveFloat | None = None
    clamp: Literal["end", "step"] = "end"
    resolution: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.375, 0.5)

    @field_validator("confidence")
    @classmethod
    def _is_ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"expected a low and a high end, such as [0.55, 0.7], not {list(value)}")
        return value

    @model_validator(mode="after")
    def _changes_images(self) -> Impressions:
        if self.start != "procedural":
            if self.radius is not None:
                raise ValueError("radius limits changes of images; set start to procedural, or leave it out")
            if self.candidates > 1:
                raise ValueError("candidates are images; set start to procedural, or leave candidates out")
        return self

    @property
    def starts_from_images(self) -> bool:
        """See ``Synthesis.starts_from_images``."""
        return self.start == "procedural"

    def starts(
        self, teacher: Teacher, images: DrawnImages | None, targets: Tensor, rng: torch.Generator
    ) -> Tensor | None:
        """See ``Synthesis.starts``: of several candidates for each sample, as ``candidates`` says."""
        if images is None or self.candidates == 1:
            return super().starts(teacher, images, targets, rng)
        view, classes = TeacherView(teacher), targets.argmax(1)
        return choose_starts(images, view, classes, self.candidates, rng, self.effective_batch_size)

    @property
    def needs(self) -> dict[Requirement, str]:
        """See ``Settings.needs``."""
        needs: dict[Requirement, str] = {"convolution": "activation"} if self.activation else {}
        return needs | ({"positions": "start"} if self.starts_from_images else {})

    def chunk_size(self, teacher: Teacher) -> int:
        """See ``Synthesis.chunk_size``: several batches if samples stop one by one, and a batch is cheap."""
        size = self.effective_batch_size
        if not self.ends_early:
            return size
        work = max(1, size * min(self.iterations, USUAL_PASSES) * teacher.cost.multiply_adds)
        return size * int(max(1, min(CHUNK_BATCHES, CHUNK_WORK // work)))

    @property
    def passes(self) -> int:
        """One per iteration; with ``confidence`` at most ``most_passes``."""
        return most_passes(self.iterations) if self.ends_early else self.iterations

    @property
    def ends_early(self) -> bool:
        """Whether ``confidence`` is set."""
        return self.confidence is not None

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
            UnsupportedTeacherError: ``activation`` is set and the teacher has no convolution.
        """
        shape, share = teacher.domain.shape, 1.0
        if len(shape) > 1:
            index = torch.randint(len(self.resolution), (), generator=rng, device=rng.device)
            share = self.resolution[int(index)]
        grid = CoarseGrid(shape, share, targets.device)
        size = (len(targets), *grid.shape)
        if start is None:
            noise = torch.rand if self.start == "uniform" else torch.randn
            x = noise(size, generator=rng, device=targets.device)
            bounds = (0.0, 1.0) if self.clamp == "step" else None
        else:
            x = torch.zeros(size, device=targets.device)
            bounds = None if self.radius is None else (-self.radius, self.radius)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)

        def unit(x: Tensor, rows: Tensor) -> Tensor:
            enlarged = grid.enlarge(x)
            return enlarged if start is None else (start[rows] + enlarged).clamp(0, 1)

        objective = self._objective(teacher, unit, targets)
        if self.confidence is None:
            x = self._descend(x, objective, bounds, on_step)
        else:
            x = self._descend_each(x, targets, objective, bounds, self.confidence, rng, on_step)
        return unit(x, torch.arange(len(x), device=x.device)).clamp_(0, 1)

    def _objective(self, teacher: Teacher, unit: Unit, targets: Tensor) -> Objective:
        view = TeacherView(teacher)
        probe = last_convolution_probe(teacher) if self.activation else None

        # Wang's terms are means over the batch. Sums keep their balance, and samples stay independent.
        def objective(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            samples = unit(x, rows)
            convolved: tuple[Tensor, ...] = ()
            if probe is None:
                logits = view.logits(samples)
            else:
                logits, convolved = probe(teacher.domain.to_file(samples))
                logits = logits.float()
            loss = target_loss(logits, targets[rows], self.temperature)
            for activations in convolved:
                loss = loss + self.activation * activation_loss(activations)
            if self.l2:
                loss = loss + 0.5 * self.l2 * x.square().sum()
            return loss, logits

        return objective

    def _descend(self, x: Tensor, objective: Objective, bounds: Bounds, on_step: OnStep) -> Tensor:
        """The optimised values after ``iterations`` steps."""
        x.requires_grad_()
        rows = torch.arange(len(x), device=x.device)
        # Each batch has a new optimiser, because moments belong to its samples.
        optimiser = torch.optim.Adam([x], lr=self.learning_rate, fused=True)
        for _ in range(self.iterations):
            on_step()
            x.grad = torch.autograd.grad(objective(x, rows)[0], x)[0]
            optimiser.step()
            if bounds is not None:
                x.data.clamp_(*bounds)
        return x.detach()

    def _descend_each(
        self,
        x: Tensor,
        targets: Tensor,
        objective: Objective,
        bounds: Bounds,
        confidence: tuple[float, float],
        rng: torch.Generator,
        on_step: OnStep,
    ) -> Tensor:
        """The optimised values of samples that each reach a confidence drawn from the range."""
        low, high = confidence
        thresholds = low + (high - low) * torch.rand(len(x), generator=rng, device=x.device)
        classes = targets.argmax(1)

        def evaluate(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            on_step()
            x.requires_grad_()
            loss, logits = objective(x, rows)
            (gradient,) = torch.autograd.grad(loss, x)
            reached = logits.detach().softmax(1).gather(1, classes[rows, None]).squeeze(1)
            return gradient, reached >= thresholds[rows]

        return descend_each(
            x,
            evaluate,
            slots=self.effective_batch_size,
            iterations=self.iterations,
            learning_rate=self.learning_rate,
            bounds=bounds,
        )
