"""Operators that select parts of a tensor: gather, slice, split, top k, one-hot."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zskd_onnx.importer.operators.registry import first_outputs, operator

Ints = Sequence[int]


@operator("Gather", (1, 11, 13))
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Slices of x along an axis by index; negative indices count from the end."""
    axis = axis % x.ndim
    flat = non_negative(indices, x.shape[axis]).reshape(-1)
    return x.index_select(axis, flat).reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


def non_negative(indices: Tensor, size: int) -> Tensor:
    """Indices as int64; negative ones, which count from the end of ``size`` elements, become positive."""
    return torch.where(indices < 0, indices + size, indices).to(torch.int64)


@operator("GatherElements", (11, 13))
def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Elements of x along an axis, one for each element of ``indices``."""
    return x.gather(axis, non_negative(indices, x.shape[axis]))


@operator("GatherND", (11,))
def gather_nd_11(x: Tensor, indices: Tensor) -> Tensor:
    """``gather_nd`` without batch axes."""
    return gather_nd(x, indices)


@operator("GatherND", (12, 13))
def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Slices of x; the last axis of ``indices`` has positions on the axes of x from ``batch_dims`` on."""
    batch = x.shape[:batch_dims]
    lead = [
        torch.arange(n, device=x.device).reshape((-1,) + (1,) * (indices.ndim - 2 - i)) for i, n in enumerate(batch)
    ]
    picked = [non_negative(indices[..., i], x.shape[batch_dims + i]) for i in range(indices.shape[-1])]
    return x[(*lead, *picked)]


@operator("Slice", (1,))
def slice_attributes(x: Tensor, *, starts: Ints, ends: Ints, axes: Ints | None = None) -> Tensor:
    """``slice_`` with its bounds as attributes."""
    return slice_(x, starts, ends, axes)


@operator("Slice", (10, 11, 13), host_inputs=(1, 2, 3, 4))
def slice_(x: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None) -> Tensor:
    """Slices as in numpy, also with negative steps; without ``axes``, along the first axes."""
    axes = axes if axes is not None else tuple(range(len(starts)))
    steps = steps if steps is not None else (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]
        else:
            picked = range(x.shape[axis])[slice(start, end if end >= -x.shape[axis] else None, step)]
            x = x.index_select(axis, picked.start + step * torch.arange(len(picked), device=x.device))
    return x


@operator("Split", (2, 11), counts_outputs=True)
def split_attribute(x: Tensor, *, num_outputs: int, axis: int = 0, split: Ints | None = None) -> tuple[Tensor, ...]:
    """Pieces of x along an axis, of the given or of equal sizes."""
    sizes = list(split) if split is not None else [x.shape[axis] // num_outputs] * num_outputs
    return tuple(torch.split(x, sizes, dim=axis))


@operator("Split", (13,), host_inputs=(1,), counts_outputs=True)
def split(x: Tensor, sizes: Ints | None = None, *, num_outputs: int, axis: int = 0) -> tuple[Tensor, ...]:
    """``split_attribute`` with the sizes as an input."""
    return split_attribute(x, num_outputs=num_outputs, axis=axis, split=sizes)


@operator("Split", (18,), host_inputs=(1,), counts_outputs=True)
def split_uneven(x: Tensor, sizes: Ints | None = None, *, num_outputs: int, axis: int = 0) -> tuple[Tensor, ...]:
    """Pieces of x along an axis; without sizes they are equal, except for a smaller last one."""
    if sizes is None:
        part = -(-x.shape[axis] // num_outputs)
        sizes = [part] * (num_outputs - 1) + [x.shape[axis] - part * (num_outputs - 1)]
    return tuple(torch.split(x, list(sizes), dim=axis))


@operator("TopK", (1,), counts_outputs=True)
def top_k_attribute(x: Tensor, *, k: int, num_outputs: int, axis: int = -1) -> Tensor | tuple[Tensor, Tensor]:
    """``top_k`` with k as an attribute."""
    return top_k(x, k, num_outputs=num_outputs, axis=axis)


@operator("TopK", (10, 11, 24), host_inputs=(1,), counts_outputs=True)
def top_k(
    x: Tensor, k: int | Ints, *, num_outputs: int, axis: int = -1, largest: int = 1, sorted: int = 1
) -> Tensor | tuple[Tensor, Tensor]:
    """The k largest (or smallest) values, best first, and their positions; of equal values the first wins."""
    count = k if isinstance(k, int) else k[0]
    values, indices = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    return first_outputs((values.narrow(axis, 0, count), indices.narrow(axis, 0, count)), num_outputs)


@operator("OneHot", (9, 11), host_inputs=(1,))
def one_hot(indices: Tensor, depth: int | float | Ints, values: Tensor, *, axis: int = -1) -> Tensor:
    """On at each index, off elsewhere; ``values`` is (off, on). An index out of range gives off everywhere."""
    size = int(depth[0] if isinstance(depth, tuple) else depth)  # type: ignore[arg-type]
    classes = torch.arange(size, device=indices.device)
    axis = axis % (indices.ndim + 1)
    hit = non_negative(indices, size).unsqueeze(axis) == classes.reshape((-1,) + (1,) * (indices.ndim - axis))
    return torch.where(hit, values[1], values[0])
