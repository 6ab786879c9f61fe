"""What a prior over soft targets is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from zskd_onnx.settings import Settings
from zskd_onnx.teacher.teacher import Teacher

Sampler = Callable[[int, int, torch.Generator], Tensor]
"""Soft targets (count, K) in float32 on the CPU, rows on the simplex, for the samples ``first`` ..
``first + count - 1`` of a transfer set, from ``(first, count, generator)``.

A prior that is stratified over classes derives the class from the sample's number, so that any part
of a transfer set can be drawn alone."""


class Prior(Settings):
    """A distribution over soft targets, with its parameters as fields."""

    @abstractmethod
    def sampler(self, teacher: Teacher) -> Sampler:
        """What draws for a teacher; whatever follows from its weights is computed once.

        Raises:
            UnsupportedTeacherError: the teacher lacks the layer that the prior is made of.
        """
