"""Augmentation: random changes of a batch (ZSKD supplement, section 4; Wang 2021)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, field_validator
from torch import Tensor

from zskd_onnx.settings import Settings

Fraction = Annotated[float, Field(ge=0, le=1)]

SMALLEST_CROP = 0.1
"""Smallest side of a random crop, relative to the sample's."""


class Augmentation(Settings):
    """Random changes of samples in the unit space.

    Rotation, scale, shift, flips and crops need positions: images, volumes (all slices alike) and sequences (scale,
    shift and padding along their one axis). The geometric changes of a sample are composed and resampled once.

    Attributes:
        fraction: share of a batch that is augmented; the rest stays as it is. Procedural images are part of the
            augmented share. 0 augments nothing.
        rotation: largest angle in either direction, degrees.
        scale: smallest and largest relative size.
        shift: largest shift in either direction, relative to the side.
        flip: probability of a left-right flip.
        flip_up_down: probability of an up-down flip.
        transpose: probability that height and width are exchanged, where they are equal.
        pad: positions added on every side before a random crop of the original size.
        crop: probability of a random crop on a blank ground: all values outside a random box become 0. Each side of
            the box is log-uniform between a tenth of the sample's and all of it. It comes before scale, shift and
            rotation, and never on natural images. It is not in the papers: impressions fill the whole field, and
            drawings stand alone in it.
        padding_mode: values from outside the sample: "zeros", or "border", the value at the edge. Default: "border"
            for natural images, which go on beyond their edges, and "zeros" for others.
        redraw: probability that features of a vector are redrawn from the whole domain, a random share of them.
            Vectors have no geometry, and real ones lie between confident ones and random ones.
        mixup: probability that a sample is blended with another of the batch (Zhang et al. 2018). The teacher labels
            the blend itself.
        salt_and_pepper: largest share of positions (features of a vector) that become 1 or 0, drawn for each sample.
        noise: largest standard deviation of Gaussian noise, drawn for each sample and added last.
    """

    fraction: Fraction = 0.8
    rotation: Annotated[float, Field(ge=0, le=180)] = 27.0
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.6, 1.1)
    shift: Fraction = 0.2
    flip: Fraction = 0.0
    flip_up_down: Fraction = 0.0
    transpose: Fraction = 0.0
    pad: NonNegativeInt = 0
    crop: Fraction = 0.6
    padding_mode: Literal["zeros", "border"] | None = None
    redraw: Fraction = 1.0
    mixup: Fraction = 0.0
    salt_and_pepper: Fraction = 0.0
    noise: NonNegativeFloat = 0.0

    @field_validator("scale")
    @classmethod
    def _ascends(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"expected the smallest and the largest size, such as [0.6, 1.1], not {list(value)}")
        return value

    @property
    def of_all(self) -> Augmentation:
        """The same for every sample, unless none are augmented."""
        return self.model_copy(update={"fraction": 1.0}) if self.fraction else self

    def beside(self, procedural: float) -> Augmentation:
        """The same for the samples beside procedural images, which are augmented already.

        Args:
            procedural: their share of a batch.
        """
        if not procedural or procedural >= 1:
            return self
        return self.model_copy(update={"fraction": max(0.0, 1 - (1 - self.fraction) / (1 - procedural))})

    def apply(self, x: Tensor, rng: torch.Generator, *, natural: bool = False, intact: bool = False) -> Tensor:
        """Augment the last ``fraction`` of a batch.

        Args:
            x: (N, *shape) in the unit space: vectors, sequences, images or volumes.
            rng: on x's device.
            natural: whether samples are natural images.
            intact: whether samples are only moved and disturbed, and neither cropped, blended nor redrawn: real
                samples keep their labels, and procedural images are varied enough.

        Returns:
            A batch of the same shape, in [0, 1].
        """
        unchanged = len(x) - round(len(x) * self.fraction)
        if unchanged == len(x):
            return x
        part = x[unchanged:]
        if self.mixup and not intact:
            part = self._mix(part, rng)
        if self.redraw and part.ndim == 2 and not intact:
            part = self._redraw(part, rng)
        if self.crop and part.ndim > 2 and not (intact or natural):
            part = self._crop_on_blank_ground(part, rng)
        if part.ndim > 2:
            part = self._move(part, self.padding_mode or ("border" if natural else "zeros"), rng)
        if self.salt_and_pepper:
            part = self._sprinkle(part, rng)
        if self.noise:
            deviation = self.noise * _uniform(part, rng)
            part = part + deviation * torch.randn(part.shape, generator=rng, device=part.device)
        part = torch.cat([x[:unchanged], part.clamp(0, 1)])
        return part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part

    def _mix(self, x: Tensor, rng: torch.Generator) -> Tensor:
        chosen = _uniform(x, rng) < self.mixup
        share = _uniform(x, rng)
        other = x[torch.randperm(len(x), generator=rng, device=x.device)]
        return torch.where(chosen, share * x + (1 - share) * other, x)

    def _redraw(self, x: Tensor, rng: torch.Generator) -> Tensor:
        share = torch.where(_uniform(x, rng) < self.redraw, _uniform(x, rng), 0.0)
        chance, fresh = torch.rand((2, *x.shape), generator=rng, device=x.device)
        return torch.where(chance < share, fresh, x)

    def _crop_on_blank_ground(self, x: Tensor, rng: torch.Generator) -> Tensor:
        whole = _uniform(x, rng) >= self.crop
        inside = torch.ones_like(whole)
        for axis in range(2, x.ndim):
            length = x.shape[axis]
            side = (SMALLEST_CROP ** _uniform(x, rng)).clamp_min(1 / length)  # a position at least
            middle = (2 * _uniform(x, rng) - 1) * (1 - side)
            positions = _centres(length, x).view(-1, *(1,) * (x.ndim - axis - 1))
            inside = inside & ((positions - middle).abs() <= side)
        return torch.where(whole | inside, x, 0)

    def _move(self, x: Tensor, padding_mode: str, rng: torch.Generator) -> Tensor:
        if x.ndim == 5:
            return self._move(x.flatten(1, 2), padding_mode, rng).unflatten(1, x.shape[1:3])
        if x.ndim == 3:
            return _resample(x.unsqueeze(2), self._map_sequence(x, rng), padding_mode).squeeze(2)
        return _resample(x, self._map_image(x, rng), padding_mode)

    def _map_image(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """An affine map for each image (N, C, H, W), from positions after augmentation to positions before it.

        Returns:
            (N, 2, 3); positions are (x, y, 1) in half sides from the middle.
        """
        n, _, height, width = x.shape

        def draw(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(n, generator=rng, device=x.device)

        angle = draw(-self.rotation, self.rotation) * (math.pi / 180)
        zoom = 1 / draw(*self.scale)
        theta = x.new_zeros((n, 2, 3))
        # In units of half sides, rotation has to undo the aspect ratio.
        theta[:, 0, 0] = angle.cos() * zoom
        theta[:, 0, 1] = -angle.sin() * zoom * (height / width)
        theta[:, 1, 0] = angle.sin() * zoom * (width / height)
        theta[:, 1, 1] = angle.cos() * zoom
        theta[:, :, 0] *= torch.where(draw(0, 1) < self.flip, -1, 1)[:, None]
        theta[:, 0, 2] = draw(-2 * self.shift, 2 * self.shift)
        theta[:, 1, 2] = draw(-2 * self.shift, 2 * self.shift)
        if self.flip_up_down:
            theta[:, :, 1] *= torch.where(draw(0, 1) < self.flip_up_down, -1, 1)[:, None]
        if self.transpose and height == width:
            chosen = (draw(0, 1) < self.transpose)[:, None, None]
            theta[:, :, :2] = torch.where(chosen, theta[:, :, :2].flip(2), theta[:, :, :2])
        if self.pad:
            theta[:, 0, 2] += self._padded_crop(x, 3, rng)
            theta[:, 1, 2] += self._padded_crop(x, 2, rng)
        return theta

    def _map_sequence(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """The same for sequences (N, C, L), as images of height 1."""
        shares = torch.rand((2, len(x)), generator=rng, device=x.device)
        theta = x.new_zeros((len(x), 2, 3))
        theta[:, 0, 0] = 1 / (self.scale[0] + (self.scale[1] - self.scale[0]) * shares[0])
        theta[:, 0, 2] = (4 * shares[1] - 2) * self.shift
        if self.pad:
            theta[:, 0, 2] += self._padded_crop(x, 2, rng)
        return theta

    def _padded_crop(self, x: Tensor, axis: int, rng: torch.Generator) -> Tensor:
        """Shifts by whole positions along an axis, (N,), in half sides."""
        positions = torch.randint(-self.pad, self.pad + 1, (len(x),), generator=rng, device=x.device)
        return positions * (2 / x.shape[axis])

    def _sprinkle(self, x: Tensor, rng: torch.Generator) -> Tensor:
        share = self.salt_and_pepper * _uniform(x, rng)
        positions = x[:, :1] if x.ndim > 2 else x
        level = torch.rand(positions.shape, generator=rng, device=x.device)
        return x.masked_fill(level < share / 2, 0).masked_fill(level > 1 - share / 2, 1)


def _resample(x: Tensor, theta: Tensor, padding_mode: str) -> Tensor:
    """Images (N, C, H, W) with bilinear values at the positions of the affine maps ``theta`` (N, 2, 3)."""
    height, width = x.shape[2:]
    horizontal, vertical, constant = theta[:, :, :, None, None].unbind(2)
    # The grid of affine_grid, to the bit, which multiplies a matrix for each sample and takes ten times as long.
    grid = horizontal * _centres(width, x) + vertical * _centres(height, x)[:, None]
    grid += constant
    return F.grid_sample(x, grid.movedim(1, 3), padding_mode=padding_mode, align_corners=False)


def _centres(count: int, like: Tensor) -> Tensor:
    """The middles of ``count`` positions side by side, from -1 to 1."""
    return torch.linspace(-1, 1, count, dtype=like.dtype, device=like.device) * (count - 1) / count


def _uniform(x: Tensor, rng: torch.Generator) -> Tensor:
    """One number in [0, 1) for each sample, shaped to broadcast over it."""
    return torch.rand((len(x), *(1,) * (x.ndim - 1)), generator=rng, device=x.device)
