"""What a synthesiser is: it turns soft targets into inputs that the teacher answers with them."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import PositiveInt
from torch import Tensor

from zskd_onnx.settings import Settings
from zskd_onnx.teacher import Teacher


class Synthesis(Settings):
    """A way to make inputs, with its parameters as fields.

    Attributes:
        count: samples in the transfer set.
        batch_size: samples made together; a matter of speed alone, the samples are independent.
    """

    count: PositiveInt = 48_000
    batch_size: PositiveInt = 100

    @property
    @abstractmethod
    def passes(self) -> int:
        """Passes through the teacher and back that one batch takes."""

    @abstractmethod
    def make(self, teacher: Teacher, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Inputs for soft targets.

        Args:
            targets: (N, K), on the teacher's device.
            generator: on the teacher's device.

        Returns:
            (N, *teacher.domain.shape) in the unit space, within [0, 1].
        """
