"""The interface of a synthesis, which makes samples whose teacher outputs match soft targets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.settings import Settings
from zskd_onnx.system.devices import memory
from zskd_onnx.teacher.teacher import Teacher

MAX_BATCH = {"cpu": 100, "cuda": 1000}
"""Default batch size by device. Larger batches do not fit into a CPU's cache; the GPU's value is not tuned."""

Logits = Callable[[Tensor], Tensor]
"""From samples (N, *shape) of the unit space to logits (N, K)."""

OnStep = Callable[[], None]
"""Called before each pass through the teacher. It may raise, which ends the synthesis of the batch."""


def ignore_step() -> None:
    """The ``OnStep`` that does nothing."""


class Synthesis(Settings):
    """A way to make samples, with its parameters as fields.

    Attributes:
        count: number of samples in the transfer set. More samples improve the student, and synthesis time
            grows in proportion.
        batch_size: number of samples that are synthesised together. If samples are independent of each
            other, it affects speed and memory only. None adapts it to the device: 100 on a CPU, 1000 on
            a GPU, fewer if the teacher's activations would not fit into memory.
    """

    needs_prior: ClassVar[bool] = True
    """Whether samples are made for soft targets that a prior draws."""

    count: Annotated[int, Field(gt=0, le=10**8)] = 48_000
    batch_size: PositiveInt | None = None

    @property
    def effective_batch_size(self) -> int:
        """``batch_size``, or the default for a CPU if it is None."""
        return self.batch_size or MAX_BATCH["cpu"]

    def fitted(self, teacher: Teacher, device: torch.device) -> Self:
        """These settings with a number for ``batch_size`` that suits the device and its memory."""
        if self.batch_size is not None:
            return self
        fits = memory(device) // activation_bytes(teacher)
        return self.model_copy(update={"batch_size": max(1, min(MAX_BATCH[device.type], fits))})

    def chunk_size(self, teacher: Teacher) -> int:
        """Number of samples per call of ``make``: one batch, unless larger chunks are faster."""
        return self.effective_batch_size

    @property
    def rounds(self) -> int:
        """Number of rounds; before each round after the first, a student is trained on the samples so far."""
        return 1

    @property
    @abstractmethod
    def passes(self) -> int:
        """Number of forward and backward passes through the teacher per batch."""

    @property
    def starts_from_images(self) -> bool:
        """Whether samples are made from procedural images instead of noise."""
        return False

    def starts(
        self, teacher: Teacher, images: DrawnImages | None, targets: Tensor, rng: torch.Generator
    ) -> Tensor | None:
        """Images (N, *teacher.domain.shape) that samples for ``targets`` (N, K) start from; None without any."""
        return images.draw(len(targets), rng) if images is not None and self.starts_from_images else None

    @property
    def ends_early(self) -> bool:
        """Whether each sample stops at its own criterion, so that most need far fewer passes than ``passes``."""
        return False

    @abstractmethod
    def make(
        self,
        teacher: Teacher,
        targets: Tensor,
        rng: torch.Generator,
        student: Logits | None = None,
        on_step: OnStep = ignore_step,
        start: Tensor | None = None,
    ) -> Tensor:
        """Samples for soft targets.

        Args:
            targets: soft targets (N, K) on the teacher's device.
            rng: random generator on the teacher's device.
            student: the student trained on the previous rounds, in inference mode; None in the first round.
            on_step: called before each of the ``passes``.
            start: procedural images (N, *teacher.domain.shape) that become the samples, where
                ``starts_from_images``; None starts from noise.

        Returns:
            (N, *teacher.domain.shape) in the unit space, within [0, 1].
        """


def activation_bytes(teacher: Teacher) -> int:
    """Rough number of bytes that a forward and backward pass through the teacher takes per sample."""
    return max(1, 4 * 2 * teacher.cost.activations)
