"""Pooling over all spatial positions: x (N, C, *size) -> (N, C, 1, ...)."""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.importer.operators.registry import operator


def _positions(x: Tensor) -> tuple[int, ...]:
    """The spatial axes of x."""
    return tuple(range(2, x.ndim))


@operator("GlobalAveragePool", (1, 22))
def global_average_pool(x: Tensor) -> Tensor:
    """The mean over all positions."""
    return x.mean(_positions(x), keepdim=True)


@operator("GlobalMaxPool", (1, 22))
def global_max_pool(x: Tensor) -> Tensor:
    """The maximum over all positions."""
    return x.amax(_positions(x), keepdim=True)


@operator("GlobalLpPool", (2, 22))
def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    """The p-norm over all positions."""
    return torch.linalg.vector_norm(x, p, _positions(x), keepdim=True)
