"""The images that a run draws: procedural ones, and crops of the user's pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zskd_onnx.procedural.own_pictures import Pictures
from zskd_onnx.procedural.settings import Procedural


@dataclass(frozen=True)
class DrawnImages:
    """Images that are drawn anew for each batch.

    Attributes:
        settings: kinds and shares.
        shape: of one sample, (C, *sides).
        pictures: the user's, or None.
    """

    settings: Procedural
    shape: tuple[int, ...]
    pictures: Pictures | None = None

    @property
    def share(self) -> float:
        """Share of a batch that is drawn."""
        return self.settings.share(self.shape)

    @property
    def natural(self) -> bool:
        """Whether samples are natural images."""
        return self.settings.natural(self.shape)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Images (count, *shape) in [0, 1], each kind in proportion to its share.

        Args:
            rng: on the device of the samples.
        """
        crops = 0 if self.pictures is None else round(count * self.settings.pictures)
        parts = []
        if crops < count:
            parts.append(self.settings.draw(count - crops, self.shape, rng))
        if crops and self.pictures is not None:
            parts.append(self.pictures.draw(torch.empty((crops, *self.shape), device=rng.device), rng))
        return torch.cat(parts)
