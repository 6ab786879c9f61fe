"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from zskd_onnx.teacher.operators.registry import operator

Axes = Sequence[int] | int | None


def _register(
    name: str,
    by_attribute: tuple[int, ...],
    by_input: tuple[int, ...],
    compute: Callable[[Tensor, tuple[int, ...], bool], Tensor],
) -> None:
    """Register a reduction for the versions whose axes are an attribute and an input."""

    @operator(name, by_attribute)
    def reduce_by_attribute(x: Tensor, *, axes: Axes = None, keepdims: int = 1) -> Tensor:
        return compute(x, tuple(axes) if axes is not None else tuple(range(x.ndim)), bool(keepdims))  # type: ignore[arg-type]

    @operator(name, by_input, host_inputs=(1,))
    def reduce_by_input(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        chosen = () if axes is None else (axes,) if isinstance(axes, int) else tuple(axes)
        if not chosen and noop_with_empty_axes:
            return compute(x, (), bool(keepdims))
        return compute(x, chosen or tuple(range(x.ndim)), bool(keepdims))


def _mean(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return x.mean(axes, keepdim=keep) if axes else x


def _sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep) if axes else x


def _max(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return torch.amax(x, axes, keepdim=keep) if axes else x


_register("ReduceMean", (1, 11, 13), (18,), _mean)
_register("ReduceSum", (1, 11), (13,), _sum)
_register("ReduceMax", (1, 11, 12, 13), (18, 20), _max)
