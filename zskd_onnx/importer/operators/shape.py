"""Operators that change the shape of a tensor, or the order of its elements, but not their values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zskd_onnx.importer.operators.registry import operator

Ints = Sequence[int]


@operator("Shape", (1, 13), returns_host=True)
def shape(x: Tensor) -> tuple[int, ...]:
    """The shape of x as a host value: Python integers, so that a variable batch size stays variable."""
    return tuple(x.shape)


@operator("Shape", (15, 19, 21, 23, 24, 25), returns_host=True)
def shape_between(x: Tensor, *, start: int = 0, end: int | None = None) -> tuple[int, ...]:
    """The shape of x from axis ``start`` to before axis ``end``, as a host value."""
    return tuple(x.shape)[start:end]


@operator("Size", (1, 13, 19, 21, 23, 24, 25), returns_host=True)
def size(x: Tensor) -> int:
    """The number of elements of x, as a host value."""
    return x.numel()


@operator("Reshape", (5, 13, 14, 19, 21, 23, 24, 25), host_inputs=(1,))
def reshape(x: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    """x in another shape; 0 keeps the input's size (unless ``allowzero``), -1 is inferred."""
    if allowzero:
        return x.reshape(tuple(shape))
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])


@operator("Flatten", (1, 9, 11, 13, 21, 23, 24, 25))
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """A matrix: the axes before ``axis`` become rows, the others columns."""
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1:
        return x.flatten(1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose", (1, 13, 21, 23, 24, 25))
def transpose(x: Tensor, *, perm: Ints | None = None) -> Tensor:
    """x with its axes permuted; by default reversed."""
    return x.permute(tuple(perm) if perm is not None else tuple(reversed(range(x.ndim))))


@operator("Squeeze", (1, 11))
def squeeze_attribute(x: Tensor, *, axes: Ints | None = None) -> Tensor:
    """x without axes of size 1; by default without all of them."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@operator("Squeeze", (13, 21, 23, 24, 25), host_inputs=(1,))
def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    """``squeeze_attribute`` with the axes as an input."""
    return squeeze_attribute(x, axes=axes)


@operator("Unsqueeze", (1, 11))
def unsqueeze_attribute(x: Tensor, *, axes: Ints) -> Tensor:
    """x with new axes of size 1."""
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Unsqueeze", (13, 21, 23, 24, 25), host_inputs=(1,))
def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    """``unsqueeze_attribute`` with the axes as an input."""
    return unsqueeze_attribute(x, axes=axes)


@operator("Concat", (4, 11, 13))
def concat(*xs: Tensor, axis: int) -> Tensor:
    """The inputs joined along an axis."""
    return torch.cat(xs, dim=axis)


@operator("Expand", (8, 13), host_inputs=(1,))
def expand(x: Tensor, shape: Ints) -> Tensor:
    """x broadcast together with ``shape``: a 1 in ``shape`` keeps the input's size."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))


@operator("Tile", (6, 13), host_inputs=(1,))
def tile(x: Tensor, repeats: Ints) -> Tensor:
    """x repeated along each axis."""
    return x.repeat(tuple(repeats))


@operator("Trilu", (14,), host_inputs=(1,))
def trilu(x: Tensor, k: int | Ints = 0, *, upper: int = 1) -> Tensor:
    """The triangle above or below the k-th diagonal of the last two axes, with zeros elsewhere."""
    diagonal = k if isinstance(k, int) else k[0]
    return x.triu(diagonal) if upper else x.tril(diagonal)


@operator("DepthToSpace", (1,))
def depth_to_space_1(x: Tensor, *, blocksize: int) -> Tensor:
    """``depth_to_space`` in mode DCR."""
    return depth_to_space(x, blocksize=blocksize)


@operator("DepthToSpace", (11, 13, 28))
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """(N, C, H, W) -> (N, C / b^2, b H, b W); the block is the outer (DCR) or the inner (CRD) part of C."""
    n, c, h, w = x.shape
    b = blocksize
    if mode == "CRD":
        blocks = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    else:
        blocks = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // b**2, h * b, w * b)


@operator("SpaceToDepth", (1, 13, 28))
def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """(N, C, H, W) -> (N, C b^2, H / b, W / b)."""
    n, c, h, w = x.shape
    b = blocksize
    blocks = x.reshape(n, c, h // b, b, w // b, b)
    order = (0, 1, 3, 5, 2, 4) if mode == "CRD" else (0, 3, 5, 1, 2, 4)
    return blocks.permute(order).reshape(n, c * b**2, h // b, w // b)
