"""Normalisation layers in inference mode."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.teacher.operators.padding import pad_spatial
from zskd_onnx.teacher.operators.registry import operator


@operator("BatchNormalization", (9, 14, 15))
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    """x (N, C, *size) normalised with the stored statistics, each of shape (C,)."""
    if training_mode:
        raise NotImplementedError("training_mode = 1: export the model in inference mode")
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


@operator("BatchNormalization", (7,))
def batch_normalization_7(
    x: Tensor, *statistics: Tensor, epsilon: float = 1e-5, momentum: float = 0.9, spatial: int = 1
) -> Tensor:
    """Version 7 could also keep statistics for each position."""
    if not spatial:
        raise NotImplementedError("spatial = 0 (statistics for each position)")
    return batch_normalization(x, *statistics, epsilon=epsilon)


@operator("LRN", (1, 13))
def local_response_normalization(
    x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Tensor:
    """Each value divided by (bias + alpha / size * sum of squares over ``size`` channels)^beta."""
    before, after = (size - 1) // 2, size // 2
    squares = pad_spatial(x.square().transpose(1, -1), [before], [after])
    window = squares.unfold(-1, size, 1).sum(-1).transpose(1, -1)
    return x / (bias + alpha / size * window).pow(beta)
