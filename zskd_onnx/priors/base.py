"""The interface of a prior, a distribution of soft targets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from zskd_onnx.settings import Settings
from zskd_onnx.teacher.teacher import Teacher

Sampler = Callable[[int, int, torch.Generator], Tensor]
"""From ``(first, count, rng)`` to soft targets (count, K) in float32 on the CPU, for the samples ``first`` to
``first + count - 1`` of a transfer set. Rows are non-negative and sum to 1.

A prior that is stratified over classes derives the class from the sample's index, so any part of a
transfer set can be drawn on its own."""


class Prior(Settings):
    """A distribution of soft targets, with its parameters as fields."""

    @abstractmethod
    def sampler(self, teacher: Teacher) -> Sampler:
        """A function that draws targets for a teacher; what depends on its weights is computed once.

        Raises:
            UnsupportedTeacherError: the teacher lacks a layer that the prior needs.
        """
