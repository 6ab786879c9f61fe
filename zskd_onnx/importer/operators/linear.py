"""Matrix products."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.importer.operators.registry import operator


@operator("Gemm", (7, 9, 11, 13))
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha A' B' + beta C, for A' (M, F) and B' (F, K); C broadcasts to (M, K)."""
    a = a.T if transA else a
    if alpha == 1.0 and beta == 1.0 and (c is None or c.ndim == 1) and a.is_floating_point():
        return F.linear(a, b if transB else b.T, c)
    y = torch.matmul(a, b.T if transB else b)
    y = y if alpha == 1.0 else (alpha * y).to(y.dtype)
    return y if c is None else y + (c if beta == 1.0 else (beta * c).to(y.dtype))


@operator("MatMul", (1, 9, 13))
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, as numpy's matmul."""
    return torch.matmul(a, b)


@operator("Einsum", (12, 28))
def einsum(*operands: Tensor, equation: str) -> Tensor:
    """Einstein summation."""
    return torch.einsum(equation.replace(" ", ""), *operands)
