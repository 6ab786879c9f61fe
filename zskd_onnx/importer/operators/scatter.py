"""Operators that write into a copy of a tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zskd_onnx.importer.operators.indexing import non_negative
from zskd_onnx.importer.operators.registry import operator

_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _scatter(x: Tensor, dim: int, indices: Tensor, updates: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return x.scatter(dim, indices, updates)
    return x.scatter_reduce(dim, indices, updates, _REDUCE[reduction])


@operator("Scatter", (9,))
@operator("ScatterElements", (11, 13))
def scatter_elements_plain(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0) -> Tensor:
    """``scatter_elements`` without a reduction."""
    return scatter_elements(x, indices, updates, axis=axis)


@operator("ScatterElements", (16, 18))
def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none") -> Tensor:
    """A copy of x with ``updates`` at ``indices`` along an axis, written or combined by ``reduction``."""
    return _scatter(x, axis, non_negative(indices, x.shape[axis]), updates, reduction)


@operator("ScatterND", (11, 13))
def scatter_nd_plain(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """``scatter_nd`` without a reduction."""
    return scatter_nd(x, indices, updates)


@operator("ScatterND", (16, 18))
def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """A copy of x with ``updates``; the last axis of ``indices`` has positions on the first axes of x."""
    depth = indices.shape[-1]
    rows = math.prod(x.shape[:depth])
    flat = torch.zeros_like(indices[..., 0], dtype=torch.int64)
    for i in range(depth):
        flat = flat * x.shape[i] + non_negative(indices[..., i], x.shape[i])
    table = x.reshape(rows, -1)
    values = updates.reshape(flat.numel(), -1)
    target = flat.reshape(-1, 1).expand_as(values)
    return _scatter(table, 0, target, values, reduction).reshape(x.shape)
