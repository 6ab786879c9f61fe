"""Augmentation as random tensor operations, each batch anew (ZSKD supplement, section 4)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from zskd_onnx.settings import Settings

Fraction = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Settings):
    """What may happen to a sample in the unit space.

    Geometry is for what has positions: images, volumes (each slice alike) and sequences (scale and
    shift along their one axis).

    Attributes:
        fraction: share of each batch that is changed; the rest stays as synthesised.
        rotation: largest angle either way, degrees.
        scale: smallest and largest size, relative.
        shift: largest shift either way, as a share of the side.
        flip: probability of a left-right flip.
        redraw: probability that a vector has features redrawn from the whole domain, a share of
            them that is drawn for each; vectors have no geometry, and real ones lie between what
            the teacher is sure of and what means nothing to it.
        mixup: probability that a sample is blended with another of the batch (Zhang et al.
            2018; no labels are blended, the teacher answers the blend itself).
        noise: largest standard deviation of Gaussian noise, drawn for each sample.
    """

    fraction: Fraction = 0.5
    rotation: Annotated[float, Field(ge=0, le=180)] = 27.0
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.6, 1.1)
    shift: Fraction = 0.2
    flip: Fraction = 0.0
    redraw: Fraction = 0.0
    mixup: Fraction = 0.0
    noise: NonNegativeFloat = 0.0

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Change the last ``fraction`` of a batch.

        Args:
            x: (N, *shape) in the unit space: vectors, sequences, images or volumes.
            generator: on x's device.

        Returns:
            A batch of the same shape, in [0, 1].
        """
        changed = round(len(x) * self.fraction)
        if not changed:
            return x
        kept, part = x[: len(x) - changed], x[len(x) - changed :]
        if self.mixup:
            part = self._mix(part, generator)
        if self.redraw and part.ndim == 2:
            part = self._redraw(part, generator)
        if part.ndim > 2:
            part = self._move(part, generator)
        if self.noise:
            deviation = self.noise * _uniform(part, generator)
            part = part + deviation * torch.randn(part.shape, generator=generator, device=part.device)
        part = torch.cat([kept, part.clamp(0, 1)])
        return part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part

    def _mix(self, x: Tensor, generator: torch.Generator) -> Tensor:
        chosen = _uniform(x, generator) < self.mixup
        share = _uniform(x, generator)
        other = x[torch.randperm(len(x), generator=generator, device=x.device)]
        return torch.where(chosen, share * x + (1 - share) * other, x)

    def _redraw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        share = torch.where(_uniform(x, generator) < self.redraw, _uniform(x, generator), 0.0)
        chance, fresh = torch.rand((2, *x.shape), generator=generator, device=x.device)
        return torch.where(chance < share, fresh, x)

    def _move(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Rotate, scale, shift and flip in one resampling; what comes from outside is 0."""
        if x.ndim == 3:
            return self._move_along(x, generator)
        if x.ndim == 5:
            return self._move(x.flatten(1, 2), generator).unflatten(1, x.shape[1:3])
        n, _, height, width = x.shape

        def draw(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(n, generator=generator, device=x.device)

        angle = draw(-self.rotation, self.rotation) * (math.pi / 180)
        zoom = 1 / draw(*self.scale)
        mirror = torch.where(draw(0, 1) < self.flip, -1.0, 1.0)
        theta = x.new_zeros((n, 2, 3))
        # affine_grid's units are half sides, so rotation has to undo the aspect ratio.
        theta[:, 0, 0] = angle.cos() * zoom * mirror
        theta[:, 0, 1] = -angle.sin() * zoom * (height / width)
        theta[:, 1, 0] = angle.sin() * zoom * mirror * (width / height)
        theta[:, 1, 1] = angle.cos() * zoom
        theta[:, 0, 2] = draw(-2 * self.shift, 2 * self.shift)
        theta[:, 1, 2] = draw(-2 * self.shift, 2 * self.shift)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    def _move_along(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Scale and shift sequences (N, C, L)."""
        shares = torch.rand((2, len(x)), generator=generator, device=x.device)
        theta = x.new_zeros((len(x), 2, 3))
        theta[:, 0, 0] = 1 / (self.scale[0] + (self.scale[1] - self.scale[0]) * shares[0])
        theta[:, 0, 2] = (4 * shares[1] - 2) * self.shift
        flat = x.unsqueeze(2)
        grid = F.affine_grid(theta, list(flat.shape), align_corners=False)
        return F.grid_sample(flat, grid, align_corners=False).squeeze(2)


def _uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    """One number in [0, 1) for each sample, shaped to broadcast over it."""
    return torch.rand((len(x), *(1,) * (x.ndim - 1)), generator=generator, device=x.device)
