"""Operators that ``passes.fuse`` puts in place of several nodes. Their domain is ``registry.OWN``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.importer.operators.registry import OWN, operator


@operator("Linear", (1,), domain=OWN)
def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x weight + bias, for a weight (F, K) and a bias (K,)."""
    return F.linear(x, weight.T, bias)


@operator("Attention", (1,), domain=OWN)
def attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float = 1.0) -> Tensor:
    """softmax(scale q k) v, for q (..., L, E), k (..., E, S) and v (..., S, Ev)."""
    if q.ndim == k.ndim == v.ndim == 4 and q.shape[:2] == k.shape[:2] == v.shape[:2]:
        return F.scaled_dot_product_attention(q, k.transpose(-1, -2), v, scale=scale)
    return torch.matmul(F.softmax(scale * torch.matmul(q, k), -1), v)


@operator("Parts", (1,), domain=OWN)
def parts(x: Tensor, *, axis: int, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Consecutive pieces of x along an axis, with the given sizes.

    If the axis is shorter than all sizes together, the last pieces are shorter or empty.
    """
    if x.shape[axis] == sum(sizes):
        return x.split(list(sizes), axis)
    ends = [0, *(min(end, x.shape[axis]) for end in accumulate(sizes))]
    return tuple(x.narrow(axis, start, end - start) for start, end in pairwise(ends))
