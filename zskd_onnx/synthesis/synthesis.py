"""What a synthesiser is: it turns soft targets into inputs that the teacher answers with them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from zskd_onnx.settings import Settings
from zskd_onnx.teacher import Teacher

Student = Callable[[Tensor], Tensor]
"""From samples of the unit space to logits (N, K)."""


class Synthesis(Settings):
    """A way to make inputs, with its parameters as fields.

    Attributes:
        needs_prior: whether inputs are made for targets.
        count: samples in the transfer set.
        batch_size: samples made together; a matter of speed alone where samples are independent.
    """

    needs_prior: ClassVar[bool] = True

    count: PositiveInt = 48_000
    batch_size: PositiveInt = 100

    @property
    def chunk(self) -> int:
        """Samples that one call of ``make`` is given; a batch where nothing is gained by more."""
        return self.batch_size

    @property
    def rounds(self) -> int:
        """Parts that a transfer set is made in; for each after the first, a student learns from those before it."""
        return 1

    @property
    @abstractmethod
    def passes(self) -> int:
        """Passes through the teacher and back that one batch takes."""

    @abstractmethod
    def make(
        self, teacher: Teacher, targets: Tensor, generator: torch.Generator, student: Student | None = None
    ) -> Tensor:
        """Inputs for soft targets.

        Args:
            targets: (N, K), on the teacher's device.
            generator: on the teacher's device.
            student: what learned from the rounds before; None in the first.

        Returns:
            (N, *teacher.domain.shape) in the unit space, within [0, 1].
        """
