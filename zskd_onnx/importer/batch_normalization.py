"""BatchNormalization that is trained: its statistics are those of the batch, and it updates the running ones."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BatchNormalization(nn.Module):
    """Normalises with the statistics of the batch in training mode, and with the running ones otherwise.

    It has no weights of its own, so that a graph that reads the file's tensors can be copied and cut.
    The running statistics are updated in place.

    Attributes:
        epsilon: added to the variance.
        momentum: share of the old running statistics in the new ones, as ONNX defines it; 0.9 by default.
    """

    def __init__(self, epsilon: float = 1e-5, momentum: float = 0.9) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.momentum = momentum

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """x (N, C, *size) normalised; the other inputs are (C,)."""
        return F.batch_norm(x, mean, variance, scale, bias, self.training, 1 - self.momentum, self.epsilon)
