"""Augmentation as random tensor operations, each batch anew (ZSKD supplement, section 4; Wang 2021)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, field_validator
from torch import Tensor

from zskd_onnx.procedural.dead_leaves import COLOURS, dead_leaves
from zskd_onnx.procedural.level_lines import level_lines
from zskd_onnx.procedural.pen_strokes import ROOM, pen_strokes
from zskd_onnx.settings import Settings

Fraction = Annotated[float, Field(ge=0, le=1)]

SMALLEST_WINDOW = 0.1
"""Smallest side of a window, as a share of the sample's."""


class Augmentation(Settings):
    """What may happen to a sample in the unit space.

    Geometry is for what has positions: images, volumes (the slices of one alike) and sequences
    (scale, shift and crop along their one axis). What is drawn for a sample is composed, so that it
    is resampled once.

    Attributes:
        fraction: share of each batch that is changed; the rest stays as synthesised.
        rotation: largest angle either way, degrees.
        scale: smallest and largest size, relative.
        shift: largest shift either way, as a share of the side; scale goes for it too.
        flip: probability of a left-right flip.
        flip_up_down: probability of an up-down flip.
        transpose: probability that height and width are exchanged, where they are equal.
        pad: positions added on every side before a random crop of the original size.
        window: probability that of an image, sequence or volume no more is left than a box; what is around it
            becomes the lowest of the unit space. Each side is log-uniform between a tenth of the sample's and
            all of it, at any place. Not in the papers: impressions fill the whole field, real objects may stand
            alone in it. It comes before scale, shift and rotation.
        contours: probability that an image, sequence or volume gives way to contours of a smooth random field,
            lines of one colour on the lowest of the unit space. Not in the papers: nothing that is optimised for the
            teacher has the outlines of real objects, and the teacher answers whatever it is shown (Baradad et al.
            2021 learn features from such images). It comes after windows, before scale, shift and rotation.
        strokes: share of images that give way to a drawing of a few strokes of a pen, of one colour on the lowest of the
            unit space; sequences, volumes and images of a side below 16 have none. Not in the papers, as contours, in
            whose place it comes too: those have no ends and no one width, which digits, letters and signs have.
        leaves: probability that a photograph gives way to dead leaves: shapes of random colours that cover one another.
            Not in the papers: photographs are surfaces with edges, impressions are not. Where it is above 0 photographs
            have neither windows nor contours nor strokes.
        photographs: whether images are photographs, scans and the like, which fill the whole field; it counts where
            ``leaves`` is above 0. Default: what the teacher says (``takes_photographs``), and without one, or where images
            are too small for that, those of three channels are.
        outside: what comes from beyond the edge: "zero", the lowest of the unit space, or "edge", the value at the
            edge. Default: "edge" for images that have leaves among them, for photographs end nowhere; "zero" for others.
        redraw: probability that a vector has features redrawn from the whole domain, a share of
            them that is drawn for each; vectors have no geometry, and real ones lie between what
            the teacher is sure of and what means nothing to it.
        mixup: probability that a sample is blended with another of the batch (Zhang et al.
            2018; no labels are blended, the teacher answers the blend itself).
        salt_and_pepper: largest share of positions, all channels of each, that become 1 or 0,
            drawn for each sample; for a vector it is of features.
        noise: largest standard deviation of Gaussian noise, drawn for each sample; it is added
            after salt and pepper.
    """

    fraction: Fraction = 0.5
    rotation: Annotated[float, Field(ge=0, le=180)] = 27.0
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.6, 1.1)
    shift: Fraction = 0.2
    flip: Fraction = 0.0
    flip_up_down: Fraction = 0.0
    transpose: Fraction = 0.0
    pad: NonNegativeInt = 0
    window: Fraction = 0.0
    contours: Fraction = 0.0
    strokes: Fraction = 0.0
    leaves: Fraction = 0.0
    photographs: bool | None = None
    outside: Literal["zero", "edge"] | None = None
    redraw: Fraction = 0.0
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
    def undecided(self) -> bool:
        """Whether the teacher is to say what images are."""
        return self.fraction > 0 and self.leaves > 0 and self.photographs is None

    def apply(self, x: Tensor, generator: torch.Generator, *, real: bool = False) -> Tensor:
        """Change the last ``fraction`` of a batch.

        Args:
            x: (N, *shape) in the unit space: vectors, sequences, images or volumes.
            generator: on x's device.
            real: whether these are real samples, which are rare: they are moved and disturbed, but neither cut, blended,
                redrawn nor replaced, and keep their labels.

        Returns:
            A batch of the same shape, in [0, 1].
        """
        kept = len(x) - round(len(x) * self.fraction)
        if kept == len(x):
            return x
        part = x[kept:]
        if self.mixup and not real:
            part = self._mix(part, generator)
        if self.redraw and part.ndim == 2 and not real:
            part = self._redraw(part, generator)
        if part.ndim > 2 and not real:
            part = self._replace(part, generator)
        if part.ndim > 2:
            part = self._move(part, self._outside(x), generator)
        if self.salt_and_pepper:
            part = self._sprinkle(part, generator)
        if self.noise:
            deviation = self.noise * _uniform(part, generator)
            part = part + deviation * torch.randn(part.shape, generator=generator, device=part.device)
        part = torch.cat([x[:kept], part.clamp(0, 1)])
        return part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part

    def _photographs(self, x: Tensor) -> bool:
        """Whether samples are taken for photographs, which have leaves."""
        are = self.photographs if self.photographs is not None else x.shape[1] == COLOURS
        return bool(self.leaves) and x.ndim == 4 and are

    def _replace(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self._photographs(x):
            return torch.where(_uniform(x, generator) < self.leaves, dead_leaves(x, generator), x)
        if self.window:
            x = self._isolate(x, generator)
        if self.contours:
            x = torch.where(_uniform(x, generator) < self.contours, level_lines(x, generator), x)
        drawings = round(len(x) * self.strokes) if x.ndim == 4 and min(x.shape[2:]) >= ROOM else 0
        if drawings:
            # As many in each batch, so that no more are drawn than are shown.
            chosen = torch.randperm(len(x), generator=generator, device=x.device)[:drawings]
            x = x.index_copy(0, chosen, pen_strokes(x[chosen], generator))
        return x

    def _mix(self, x: Tensor, generator: torch.Generator) -> Tensor:
        chosen = _uniform(x, generator) < self.mixup
        share = _uniform(x, generator)
        other = x[torch.randperm(len(x), generator=generator, device=x.device)]
        return torch.where(chosen, share * x + (1 - share) * other, x)

    def _redraw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        share = torch.where(_uniform(x, generator) < self.redraw, _uniform(x, generator), 0.0)
        chance, fresh = torch.rand((2, *x.shape), generator=generator, device=x.device)
        return torch.where(chance < share, fresh, x)

    def _isolate(self, x: Tensor, generator: torch.Generator) -> Tensor:
        left = _uniform(x, generator) >= self.window
        inside = torch.ones_like(left)
        for axis in range(2, x.ndim):
            length = x.shape[axis]
            side = (SMALLEST_WINDOW ** _uniform(x, generator)).clamp_min(1 / length)  # a position at least
            middle = (2 * _uniform(x, generator) - 1) * (1 - side)
            positions = _centres(length, x).view(-1, *(1,) * (x.ndim - axis - 1))
            inside = inside & ((positions - middle).abs() <= side)
        return torch.where(left | inside, x, 0)

    def _outside(self, x: Tensor) -> str:
        return self.outside or ("edge" if self._photographs(x) else "zero")

    def _move(self, x: Tensor, outside: str, generator: torch.Generator) -> Tensor:
        if x.ndim == 5:
            return self._move(x.flatten(1, 2), outside, generator).unflatten(1, x.shape[1:3])
        if x.ndim == 3:
            return self._resample(x.unsqueeze(2), self._along(x, generator), outside).squeeze(2)
        return self._resample(x, self._across(x, generator), outside)

    def _across(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """An affine map for each image (N, C, H, W), from positions after it to positions before it.

        Returns:
            (N, 2, 3); positions are (x, y, 1) in half sides from the middle.
        """
        n, _, height, width = x.shape

        def draw(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(n, generator=generator, device=x.device)

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
            theta[:, 0, 2] += self._crop(x, 3, generator)
            theta[:, 1, 2] += self._crop(x, 2, generator)
        return theta

    def _along(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The same for sequences (N, C, L), taken for images of height 1."""
        shares = torch.rand((2, len(x)), generator=generator, device=x.device)
        theta = x.new_zeros((len(x), 2, 3))
        theta[:, 0, 0] = 1 / (self.scale[0] + (self.scale[1] - self.scale[0]) * shares[0])
        theta[:, 0, 2] = (4 * shares[1] - 2) * self.shift
        if self.pad:
            theta[:, 0, 2] += self._crop(x, 2, generator)
        return theta

    def _crop(self, x: Tensor, axis: int, generator: torch.Generator) -> Tensor:
        """Shifts by whole positions along an axis, (N,), in half sides."""
        positions = torch.randint(-self.pad, self.pad + 1, (len(x),), generator=generator, device=x.device)
        return positions * (2 / x.shape[axis])

    def _resample(self, x: Tensor, theta: Tensor, outside: str) -> Tensor:
        """Images (N, C, H, W) with bilinear values at the positions that ``theta`` names."""
        height, width = x.shape[2:]
        horizontal, vertical, constant = theta[:, :, :, None, None].unbind(2)
        # The grid of affine_grid, to the bit; that multiplies a matrix for each sample, ten times slower.
        grid = horizontal * _centres(width, x) + vertical * _centres(height, x)[:, None]
        grid += constant
        beyond = "zeros" if outside == "zero" else "border"
        return F.grid_sample(x, grid.movedim(1, 3), padding_mode=beyond, align_corners=False)

    def _sprinkle(self, x: Tensor, generator: torch.Generator) -> Tensor:
        share = self.salt_and_pepper * _uniform(x, generator)
        positions = x[:, :1] if x.ndim > 2 else x
        level = torch.rand(positions.shape, generator=generator, device=x.device)
        return x.masked_fill(level < share / 2, 0).masked_fill(level > 1 - share / 2, 1)


def _centres(count: int, like: Tensor) -> Tensor:
    """The middles of ``count`` positions side by side, from -1 to 1."""
    return torch.linspace(-1, 1, count, dtype=like.dtype, device=like.device) * (count - 1) / count


def _uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    """One number in [0, 1) for each sample, shaped to broadcast over it."""
    return torch.rand((len(x), *(1,) * (x.ndim - 1)), generator=generator, device=x.device)
