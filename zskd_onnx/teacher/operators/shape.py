"""Operators that change a tensor's shape and not its values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.teacher.operators.registry import operator

Ints = Sequence[int]


@operator("Shape", (1, 13))
def shape(x: Tensor) -> tuple[int, ...]:
    """A host value: Python integers, so that a free batch size stays free."""
    return tuple(x.shape)


@operator("Shape", (15, 19, 21, 23, 24, 25))
def shape_between(x: Tensor, *, start: int = 0, end: int | None = None) -> tuple[int, ...]:
    return tuple(x.shape)[start:end]


@operator("Reshape", (5, 13, 14, 19, 21, 23, 24, 25), host_inputs=(1,))
def reshape(x: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    """0 keeps the input's dimension (unless ``allowzero``), -1 is inferred."""
    if allowzero:
        return x.reshape(tuple(shape))
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])


@operator("Flatten", (1, 9, 11, 13, 21, 23, 24, 25))
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """A matrix: the axes before ``axis`` by the others."""
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1:
        return x.flatten(1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose", (1, 13, 21, 23, 24, 25))
def transpose(x: Tensor, *, perm: Ints | None = None) -> Tensor:
    return x.permute(tuple(perm) if perm is not None else tuple(reversed(range(x.ndim))))


@operator("Squeeze", (1, 11))
def squeeze_attribute(x: Tensor, *, axes: Ints | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@operator("Squeeze", (13, 21, 23, 24, 25), host_inputs=(1,))
def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    return squeeze_attribute(x, axes=axes)


@operator("Unsqueeze", (1, 11))
def unsqueeze_attribute(x: Tensor, *, axes: Ints) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Unsqueeze", (13, 21, 23, 24, 25), host_inputs=(1,))
def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    return unsqueeze_attribute(x, axes=axes)


@operator("Concat", (4, 11, 13))
def concat(*xs: Tensor, axis: int) -> Tensor:
    return torch.cat(xs, dim=axis)


@operator("Expand", (8, 13), host_inputs=(1,))
def expand(x: Tensor, shape: Ints) -> Tensor:
    """Broadcast both ways: a 1 in ``shape`` keeps the input's dimension."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))


@operator("Pad", (2,))
def pad_attributes(x: Tensor, *, pads: Ints, mode: str = "constant", value: float = 0.0) -> Tensor:
    return _pad(x, tuple(pads), mode, value)


@operator("Pad", (11, 13, 18, 19, 21, 23, 24, 25), host_inputs=(1, 2, 3))
def pad(
    x: Tensor, pads: Ints, value: float | None = None, axes: Ints | None = None, *, mode: str = "constant"
) -> Tensor:
    """``pads`` holds all begins and then all ends, for every axis or for ``axes`` alone."""
    if axes is not None:
        full = [0] * (2 * x.ndim)
        for i, axis in enumerate(axes):
            full[axis % x.ndim] = pads[i]
            full[axis % x.ndim + x.ndim] = pads[i + len(axes)]
        pads = full
    return _pad(x, tuple(pads), mode, value or 0.0)


def _pad(x: Tensor, pads: tuple[int, ...], mode: str, value: float) -> Tensor:
    pairs = list(zip(pads[: x.ndim], pads[x.ndim :], strict=True))
    while pairs and pairs[0] == (0, 0):
        pairs.pop(0)
    amounts = [n for pair in reversed(pairs) for n in pair]
    if mode == "constant":
        return F.pad(x, amounts, value=value)
    if mode not in ("reflect", "edge") or len(pairs) > min(3, x.ndim - 1):
        raise NotImplementedError(f"mode '{mode}' over {len(pairs)} axes")
    if x.ndim - len(pairs) > 2:
        return _pad(x.flatten(0, 1), pads[1 : x.ndim] + pads[x.ndim + 1 :], mode, value).unflatten(0, x.shape[:2])
    return F.pad(x, amounts, mode={"reflect": "reflect", "edge": "replicate"}[mode])
