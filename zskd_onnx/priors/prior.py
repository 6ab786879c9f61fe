"""What a prior over soft targets is."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from zskd_onnx.settings import Settings
from zskd_onnx.teacher import Teacher


class Prior(Settings):
    """A distribution over soft targets, with its parameters as fields."""

    @abstractmethod
    def draw(self, teacher: Teacher, first: int, count: int, generator: torch.Generator) -> Tensor:
        """Soft targets for the samples ``first`` .. ``first + count - 1`` of a transfer set.

        A prior that is stratified over classes derives the class from the sample's number, so
        that any part of a transfer set can be drawn alone.

        Returns:
            (count, K) in float32, rows on the simplex.
        """
