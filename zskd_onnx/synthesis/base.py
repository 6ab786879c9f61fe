"""What a synthesiser is: it turns soft targets into inputs that the teacher answers with them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from zskd_onnx.settings import Settings
from zskd_onnx.system.devices import memory
from zskd_onnx.teacher.teacher import Teacher

LARGEST = {"cpu": 100, "cuda": 1000}
"""Samples made together where nothing else is asked for: more leave a CPU's cache; the GPU's is not measured yet."""

Student = Callable[[Tensor], Tensor]
"""From samples of the unit space to logits (N, K)."""


class Synthesis(Settings):
    """A way to make inputs, with its parameters as fields.

    Attributes:
        needs_prior: whether inputs are made for targets.
        count: samples in the transfer set.
        batch_size: samples made together; a matter of speed and memory alone where samples are
            independent. None fits it to the device: 100 on a CPU, 1000 on a GPU, fewer where the
            teacher's activations would not fit.
    """

    needs_prior: ClassVar[bool] = True

    count: Annotated[int, Field(gt=0, le=10**8)] = 48_000
    batch_size: PositiveInt | None = None

    @property
    def effective_batch_size(self) -> int:
        """``batch_size``, or the CPU's where it is left open and no device is known."""
        return self.batch_size or LARGEST["cpu"]

    def fitted(self, teacher: Teacher, device: torch.device) -> Self:
        """With ``batch_size`` as a number that suits the device and its memory."""
        if self.batch_size is not None:
            return self
        fits = memory(device) // activation_bytes(teacher)
        return self.model_copy(update={"batch_size": max(1, min(LARGEST[device.type], fits))})

    @property
    def chunk(self) -> int:
        """Samples that one call of ``make`` is given; a batch where nothing is gained by more."""
        return self.effective_batch_size

    @property
    def rounds(self) -> int:
        """Parts that a transfer set is made in; for each after the first, a student learns from those before it."""
        return 1

    @property
    @abstractmethod
    def passes(self) -> int:
        """Passes through the teacher and back that one batch takes."""

    @property
    def ends_early(self) -> bool:
        """Whether a sample ends once it is done: most then take far fewer passes than ``passes``."""
        return False

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


def activation_bytes(teacher: Teacher) -> int:
    """What one sample takes on the way through the teacher and back, roughly."""
    return max(1, 4 * 2 * teacher.cost.activations)
