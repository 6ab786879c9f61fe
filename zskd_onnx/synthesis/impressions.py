"""Data impressions: inputs optimised until the teacher answers with the soft target.

Nayak et al. 2019, Zero-Shot Knowledge Distillation, eq. 6 and section 3.3.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from zskd_onnx.synthesis.synthesis import Synthesis
from zskd_onnx.teacher import Teacher

LEAST_GRID = 8
"""Positions below which no grid goes."""

ENLARGE = {3: "linear", 4: "bilinear", 5: "trilinear"}

Share = Annotated[float, Field(gt=0, le=1)]


class Impressions(Synthesis):
    """x* = argmin_x CE(y, softmax(T(x) / tau)) + l2 / 2 * |x|^2, from noise, with Adam.

    Attributes:
        iterations: steps of Adam for each batch.
        learning_rate: of Adam, in units of the unit space.
        temperature: tau.
        l2: weight of the squared norm of each sample.
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
    start: Literal["normal", "uniform"] = "normal"
    clip: Literal["end", "step"] = "end"
    resolution: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.375, 0.5)

    @property
    def passes(self) -> int:
        """One for each iteration."""
        return self.iterations

    def make(self, teacher: Teacher, targets: Tensor, generator: torch.Generator) -> Tensor:
        """See ``Synthesis.make``."""
        shape = teacher.domain.shape
        enlarge = self._grid(shape, generator) if len(shape) > 1 else None
        grid = shape if enlarge is None else (shape[0], *enlarge)
        noise = torch.randn if self.start == "normal" else torch.rand
        x = noise((len(targets), *grid), generator=generator, device=targets.device)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        x.requires_grad_()

        def image() -> Tensor:
            return x if enlarge is None else F.interpolate(x, shape[1:], mode=ENLARGE[x.ndim], align_corners=False)

        # A fresh optimiser for each batch: moments belong to these samples alone.
        optimiser = torch.optim.Adam([x], lr=self.learning_rate, fused=True)
        for _ in range(self.iterations):
            logits = teacher.logits(teacher.domain.to_file(image())).float()
            loss = F.cross_entropy(logits / self.temperature, targets, reduction="sum")
            if self.l2:
                loss = loss + 0.5 * self.l2 * x.square().sum()
            x.grad = torch.autograd.grad(loss, x)[0]
            optimiser.step()
            if self.clip == "step":
                x.data.clamp_(0, 1)
        return image().detach().clamp_(0, 1)

    def _grid(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[int, ...] | None:
        """Positions to optimise at, along each axis, or None for the sample's own."""
        chosen = torch.randint(len(self.resolution), (), generator=generator, device=generator.device)
        share = self.resolution[int(chosen)]
        sides = tuple(max(min(side, LEAST_GRID), round(side * share)) for side in shape[1:])
        return None if sides == shape[1:] else sides
