"""Recipe fields of procedural images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from zskd_onnx.procedural.dead_leaves import COLOURS, dead_leaves
from zskd_onnx.procedural.level_lines import level_lines
from zskd_onnx.procedural.objects import objects
from zskd_onnx.procedural.pen_strokes import MIN_SIDE, pen_strokes
from zskd_onnx.procedural.scenes import scenes
from zskd_onnx.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]

Draw = Callable[[Tensor, torch.Generator], Tensor]
"""A function that draws images in the unit space, as many and as large as those that it is given."""

KINDS: dict[str, Draw] = {
    "level_lines": level_lines,
    "pen_strokes": pen_strokes,
    "objects": objects,
    "dead_leaves": dead_leaves,
    "scenes": scenes,
}
"""Kind -> function that draws samples as many and as large as those that it is given."""


def drawable_kinds(shape: tuple[int, ...]) -> tuple[str, ...]:
    """The kinds that can be drawn for samples of a shape (C, *sides); none for vectors (F,)."""
    if len(shape) == 1:
        return ()
    if len(shape) != 3:
        return ("level_lines",)
    return tuple(kind for kind in KINDS if kind != "pen_strokes" or min(shape[1:]) >= MIN_SIDE)


def has_all_kinds(shape: tuple[int, ...]) -> bool:
    """Whether every kind can be drawn for samples of a shape: images (C, H, W) of at least 16 x 16."""
    return len(drawable_kinds(shape)) == len(KINDS)


class Procedural(Settings):
    """Images that are drawn at random by a procedure, as a source of training samples; the teacher labels them.

    Shares are of each batch. Inputs are either drawings (digits, letters, signs on an empty ground) or natural
    images (photographs, scans), and only the kinds for one of the two are drawn. Vectors have no positions, so
    none are drawn for them.

    Attributes:
        level_lines: share of level-set lines of smooth random fields, for drawings. Networks learn features from such
            images that carry over to real ones (Baradad et al. 2021).
        pen_strokes: share of drawings with a pen, for drawings. Inputs with a side below 16, sequences and volumes
            have no room for them and get level-set lines instead.
        objects: share of objects on an empty ground, for drawings; sequences and volumes get level-set lines instead.
        dead_leaves: share of dead leaves (Lee, Mumford & Huang 2001), overlapping shapes of random colours, for
            natural images.
        scenes: share of objects on a ground of dead leaves or of one texture, for natural images. Where this and
            dead_leaves are 0, natural images get the kinds for drawings.
        pictures: share of crops of the user's pictures among the images that are drawn, where a run has some.
        natural_images: whether inputs are natural images. Default: inferred from the teacher, which separates those
            procedural images better that are nearer to its training data; where it tells nothing, images with three
            channels are natural.
    """

    level_lines: Share = 0.0
    pen_strokes: Share = 0.0
    objects: Share = 0.0
    dead_leaves: Share = 0.0
    scenes: Share = 0.0
    pictures: Share = 0.5
    natural_images: bool | None = None

    @model_validator(mode="after")
    def _shares_fit(self) -> Procedural:
        for kinds in (("level_lines", "pen_strokes", "objects"), ("dead_leaves", "scenes")):
            total = sum(getattr(self, kind) for kind in kinds)
            if total > 1 + 1e-9:
                raise ValueError(
                    f"{', '.join(kinds[:-1])} and {kinds[-1]} are shares of one batch; expected a sum of at most 1, "
                    f"not {total:g}"
                )
        return self

    @property
    def has_natural(self) -> bool:
        """Whether there are kinds for natural images."""
        return self.dead_leaves + self.scenes > 0

    def natural(self, shape: tuple[int, ...]) -> bool:
        """Whether samples of a shape are taken for natural images, and get the kinds for them."""
        natural = self.natural_images if self.natural_images is not None else shape[0] == COLOURS
        return natural and len(shape) == 3 and self.has_natural

    def kinds(self, shape: tuple[int, ...]) -> dict[str, float]:
        """Kind -> share of a batch, for samples of a shape (C, *sides); empty for vectors (F,)."""
        drawable = drawable_kinds(shape)
        if not drawable:
            return {}
        if self.natural(shape):
            shares = {"dead_leaves": self.dead_leaves, "scenes": self.scenes}
        else:
            wanted = {"level_lines": self.level_lines, "pen_strokes": self.pen_strokes, "objects": self.objects}
            shares = {kind: share for kind, share in wanted.items() if kind in drawable}
            shares["level_lines"] += sum(share for kind, share in wanted.items() if kind not in drawable)
        return {kind: share for kind, share in shares.items() if share}

    def share(self, shape: tuple[int, ...]) -> float:
        """Share of a batch that is procedural, for samples of a shape."""
        return sum(self.kinds(shape).values())

    def draw(self, count: int, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Procedural samples, each kind in proportion to its share.

        Args:
            count: number of samples.
            shape: of one sample, (C, *sides).
            rng: on the device of the samples.

        Returns:
            (count, *shape) in [0, 1], float32.
        """
        kinds = self.kinds(shape)
        total, done, end, parts = sum(kinds.values()), 0, 0.0, []
        for kind, share in kinds.items():
            end += share
            last = round(count * end / total)
            if last > done:
                parts.append(KINDS[kind](torch.empty((last - done, *shape), device=rng.device), rng))
            done = last
        return torch.cat(parts)
