"""Operators that pick parts of a tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zskd_onnx.teacher.operators.registry import operator

Ints = Sequence[int]


@operator("Gather", (1, 11, 13))
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Negative indices count from the end."""
    axis = axis % x.ndim
    flat = torch.where(indices < 0, indices + x.shape[axis], indices).reshape(-1)
    return x.index_select(axis, flat).reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


@operator("Slice", (1,))
def slice_attributes(x: Tensor, *, starts: Ints, ends: Ints, axes: Ints | None = None) -> Tensor:
    return slice_(x, starts, ends, axes)


@operator("Slice", (10, 11, 13), host_inputs=(1, 2, 3, 4))
def slice_(x: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None) -> Tensor:
    """numpy's slicing, negative steps included."""
    axes = axes if axes is not None else tuple(range(len(starts)))
    steps = steps if steps is not None else (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]
        else:
            picked = range(x.shape[axis])[slice(start, end if end >= -x.shape[axis] else None, step)]
            x = x.index_select(axis, torch.tensor(list(picked), dtype=torch.int64, device=x.device))
    return x


@operator("Split", (2, 11), counts_outputs=True)
def split_attribute(x: Tensor, *, num_outputs: int, axis: int = 0, split: Ints | None = None) -> tuple[Tensor, ...]:
    sizes = list(split) if split is not None else [x.shape[axis] // num_outputs] * num_outputs
    return tuple(torch.split(x, sizes, dim=axis))


@operator("Split", (13,), host_inputs=(1,), counts_outputs=True)
def split(x: Tensor, sizes: Ints | None = None, *, num_outputs: int, axis: int = 0) -> tuple[Tensor, ...]:
    return split_attribute(x, num_outputs=num_outputs, axis=axis, split=sizes)


@operator("Split", (18,), host_inputs=(1,), counts_outputs=True)
def split_uneven(x: Tensor, sizes: Ints | None = None, *, num_outputs: int, axis: int = 0) -> tuple[Tensor, ...]:
    """Without sizes, equal parts; the last one is smaller where they do not divide."""
    if sizes is None:
        part = -(-x.shape[axis] // num_outputs)
        sizes = [part] * (num_outputs - 1) + [x.shape[axis] - part * (num_outputs - 1)]
    return tuple(torch.split(x, list(sizes), dim=axis))
