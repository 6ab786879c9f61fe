"""Arithmetic on shapes, kept in Python integers.

Exporters compute shapes inside the graph: Shape, Gather, Concat, Reshape. Such values never
become tensors here. ``Shape`` gives a tuple of Python integers and the operators below work on
integers and tuples of them, so a free batch size stays symbolic, nothing is copied to or from an
accelerator, and torch.compile sees no data-dependent value.
"""

from __future__ import annotations

import operator as py
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Number = int | float | bool
Host = Number | tuple[Number, ...]
"""A scalar or a one-dimensional value."""

_TABLE: dict[str, Callable[..., Host]] = {}


def find_host_operator(domain: str, name: str) -> Callable[..., Host] | None:
    """The host implementation of an ai.onnx operator, or None."""
    return _TABLE.get(name) if domain == "" else None


def as_host(tensor: Tensor) -> Host:
    """A constant of at most one dimension as Python numbers.

    Raises:
        ValueError: if it has more dimensions.
    """
    if tensor.ndim > 1:
        raise ValueError(f"shape {tuple(tensor.shape)}, expected a scalar or a vector")
    value = tensor.tolist()
    return tuple(value) if isinstance(value, list) else value


def as_tensor(value: Host, like: Tensor | None = None) -> Tensor:
    """A host value where a tensor is needed, on the device of ``like``."""
    return torch.tensor(value, device=None if like is None else like.device)


def _host(*names: str) -> Callable[[Callable[..., Host]], Callable[..., Host]]:
    def register(function: Callable[..., Host]) -> Callable[..., Host]:
        for name in names:
            _TABLE[name] = function
        return function

    return register


def _vector(value: Host) -> tuple[Number, ...]:
    return value if isinstance(value, tuple) else (value,)


def _elementwise(function: Callable[[Any, Any], Number]) -> Callable[[Host, Host], Host]:
    def apply(a: Host, b: Host) -> Host:
        if not isinstance(a, tuple) and not isinstance(b, tuple):
            return function(a, b)
        left, right = _vector(a), _vector(b)
        size = max(len(left), len(right))
        left, right = left * (size // len(left)), right * (size // len(right))
        return tuple(function(x, y) for x, y in zip(left, right, strict=True))

    return apply


def _divide(a: Any, b: Any) -> Number:
    """Integers divide towards zero; sizes are never negative, so ``//`` agrees."""
    return a / b if isinstance(a, float) or isinstance(b, float) else a // b


for _name, _function in {
    "Add": py.add,
    "Sub": py.sub,
    "Mul": py.mul,
    "Div": _divide,
    "Min": lambda a, b: min(a, b),
    "Max": lambda a, b: max(a, b),
}.items():
    _TABLE[_name] = _elementwise(_function)


@_host("Identity")
def identity(x: Host) -> Host:
    return x


@_host("Cast")
def cast(x: Host, *, to: int, **_saturation: Any) -> Host:
    convert: Callable[[Any], Number] = float if to in (1, 10, 11, 16) else bool if to == 9 else int
    if isinstance(x, tuple):
        return tuple(v if type(v) is convert else convert(v) for v in x)
    return convert(x)


@_host("Gather")
def gather(x: Host, indices: Host, *, axis: int = 0) -> Host:
    values = _vector(x)
    if isinstance(indices, tuple):
        return tuple(values[int(i)] for i in indices)
    return values[int(indices)]


@_host("Concat")
def concat(*xs: Host, axis: int = 0) -> Host:
    return tuple(v for x in xs for v in _vector(x))


@_host("Unsqueeze")
def unsqueeze(x: Host, axes: Host | None = None) -> Host:
    if isinstance(x, tuple):
        raise NotImplementedError("a shape computation with more than one dimension")
    return (x,)


@_host("Squeeze")
def squeeze(x: Host, axes: Host | None = None) -> Host:
    return x[0] if isinstance(x, tuple) and len(x) == 1 else x


@_host("Reshape")
def reshape(x: Host, shape: Host, *, allowzero: int = 0) -> Host:
    target = _vector(shape)
    if len(target) > 1:
        raise NotImplementedError("a shape computation with more than one dimension")
    return _vector(x) if target else _vector(x)[0]


@_host("Slice")
def slice_(
    x: Host,
    starts: Host,
    ends: Host,
    axes: Host | None = None,
    steps: Host | None = None,
) -> Host:
    start, end, step = (int(_vector(v)[0]) for v in (starts, ends, 1 if steps is None else steps))
    return _vector(x)[start:end:step]


@_host("ReduceProd")
def reduce_prod(x: Host, axes: Host | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Host:
    total: Any = 1
    for value in _vector(x):
        total = total * value
    return (total,) if keepdims else total
