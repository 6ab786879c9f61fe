"""Reductions over axes, positions of extremes, and cumulative sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from zskd_onnx.importer.operators.registry import operator

Axes = Sequence[int] | int | None
Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _register(name: str, by_attribute: tuple[int, ...], by_input: tuple[int, ...], compute: Reduction) -> None:
    """Register a reduction for the versions with the axes as an attribute, and for those with an input."""

    @operator(name, by_attribute)
    def reduce_by_attribute(x: Tensor, *, axes: Axes = None, keepdims: int = 1) -> Tensor:
        return reduce_by_input(x, axes, keepdims=keepdims)

    @operator(name, by_input, host_inputs=(1,))
    def reduce_by_input(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        """Reduce over ``axes``; without axes over all, or with ``noop_with_empty_axes`` over none."""
        chosen = () if axes is None else (axes,) if isinstance(axes, int) else tuple(axes)
        if chosen or noop_with_empty_axes:
            return compute(x, tuple(axis % x.ndim for axis in chosen), bool(keepdims))
        return compute(x, tuple(range(x.ndim)), bool(keepdims))


def _sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep, dtype=x.dtype) if axes else x


def _mean(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if not axes:
        return x
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    count = math.prod(x.shape[axis] for axis in axes)
    return torch.div(_sum(x, axes, keep), count, rounding_mode="trunc")


def _prod(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _extreme(compute: Callable[..., Tensor], of_nothing: Callable[[torch.dtype], float]) -> Reduction:
    """A maximum or minimum; ``of_nothing`` gives its value over an axis of size 0."""

    def reduce(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
        if not axes:
            return x
        if all(x.shape[axis] for axis in axes):
            return compute(x, axes, keepdim=keep)
        return torch.full_like(_sum(x, axes, keep), of_nothing(x.dtype))

    return reduce


def _lowest(dtype: torch.dtype) -> float:
    return -math.inf if dtype.is_floating_point else 0 if dtype == torch.bool else torch.iinfo(dtype).min


def _highest(dtype: torch.dtype) -> float:
    return math.inf if dtype.is_floating_point else 1 if dtype == torch.bool else torch.iinfo(dtype).max


def _l1(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return _sum(x.abs(), axes, keep)


def _l2(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    """The L2 norm. The gradient of torch's norm is zero at zero, where that of a square root is infinite."""
    if not axes:
        return x.abs()
    real = x if x.is_floating_point() else x.double()
    return torch.linalg.vector_norm(real, 2, axes, keepdim=keep).to(x.dtype)


def _log_sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return _sum(x, axes, keep).log().to(x.dtype)


def _log_sum_exp(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if not axes:
        return x
    real = x if x.is_floating_point() else x.double()
    return torch.logsumexp(real, axes, keepdim=keep).to(x.dtype)


def _sum_square(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return _sum(x * x, axes, keep)


_register("ReduceMean", (1, 11, 13), (18,), _mean)
_register("ReduceSum", (1, 11), (13,), _sum)
_register("ReduceProd", (1, 11, 13), (18,), _prod)
_register("ReduceMax", (1, 11, 12, 13), (18, 20), _extreme(torch.amax, _lowest))
_register("ReduceMin", (1, 11, 12, 13), (18, 20), _extreme(torch.amin, _highest))
_register("ReduceL1", (1, 11, 13), (18,), _l1)
_register("ReduceL2", (1, 11, 13), (18,), _l2)
_register("ReduceLogSum", (1, 11, 13), (18, 28), _log_sum)
_register("ReduceLogSumExp", (1, 11, 13), (18, 28), _log_sum_exp)
_register("ReduceSumSquare", (1, 11, 13), (18,), _sum_square)


def _register_position(name: str, find: Callable[..., Tensor]) -> None:
    """Register ArgMax or ArgMin: the first of equal values, from version 12 on optionally the last."""

    @operator(name, (1, 11))
    def first(x: Tensor, *, axis: int = 0, keepdims: int = 1) -> Tensor:
        return find(x, axis, keepdim=bool(keepdims))

    @operator(name, (12, 13))
    def chosen(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
        if not select_last_index:
            return first(x, axis=axis, keepdims=keepdims)
        return x.shape[axis] - 1 - first(x.flip(axis), axis=axis, keepdims=keepdims)


_register_position("ArgMax", torch.argmax)
_register_position("ArgMin", torch.argmin)


@operator("CumSum", (11, 14), host_inputs=(1,))
def cumulative_sum(x: Tensor, axis: int | Sequence[int], *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Sums of the elements so far; ``exclusive`` leaves out an element's own value."""
    dim = axis if isinstance(axis, int) else axis[0]
    x = x.flip(dim) if reverse else x
    total = x.cumsum(dim, dtype=x.dtype)
    total = total - x if exclusive else total
    return total.flip(dim) if reverse else total
