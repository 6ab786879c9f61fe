"""Shape arithmetic on host values, which are Python numbers.

Exporters compute shapes inside the graph: Shape, Gather, Concat, Reshape. Here such values never
become tensors. A host value is a Python number, or a tuple of numbers for a vector. ``Shape``
returns one, and the functions below compute with them. The batch size then stays variable, nothing
is copied to or from an accelerator, and torch.compile sees no value that depends on the data.

The functions follow the ONNX operators of the same names, for at most one axis.
"""

from __future__ import annotations

import math
import operator as py
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Number = int | float | bool
"""A Python number; an int may also be a symbolic integer of torch."""

Host = Number | tuple[Number, ...]
"""A number, or a tuple of numbers for a vector."""

LENGTH_LIMIT = 1 << 16
"""Largest number of elements of a host value; a longer one is data."""

_TABLE: dict[str, Callable[..., Host]] = {}


def find_host_operator(domain: str, name: str) -> Callable[..., Host] | None:
    """The function on host values for an operator, or None; only ai.onnx has any."""
    return _TABLE.get(name) if domain == "" else None


def as_host(tensor: Tensor) -> Host:
    """A constant of at most one axis as Python numbers.

    Raises:
        ValueError: the constant has more axes, or more than ``LENGTH_LIMIT`` elements.
    """
    if tensor.ndim > 1:
        raise ValueError(f"shape {tuple(tensor.shape)}, expected a scalar or a vector")
    if tensor.numel() > LENGTH_LIMIT:
        raise ValueError(f"{tensor.numel()} numbers, expected at most {LENGTH_LIMIT}")
    value = tensor.tolist()
    return tuple(value) if isinstance(value, list) else value


def as_tensor(value: Host, like: Tensor | None = None) -> Tensor:
    """A host value as a tensor, on the device of ``like``; integers become int64."""
    dtype = torch.int64 if value == () else None
    return torch.tensor(value, dtype=dtype, device=None if like is None else like.device)


def to_device_of(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor moved to the device of another."""
    return tensor.to(like.device)


def _host(*names: str) -> Callable[[Callable[..., Host]], Callable[..., Host]]:
    """Register a function on host values for ONNX operators."""

    def register(function: Callable[..., Host]) -> Callable[..., Host]:
        for name in names:
            _TABLE[name] = _bounded(function)
        return function

    return register


def _bounded(function: Callable[..., Host]) -> Callable[..., Host]:
    """Raise OverflowError for a result beyond 64 bits or ``LENGTH_LIMIT`` numbers.

    Python's integers have no limit, so a file could fill the memory: squaring a number 60 times gives
    one of 2^60 digits.
    """

    def compute(*values: Any, **attributes: Any) -> Host:
        result = function(*values, **attributes)
        if isinstance(result, tuple) and len(result) > LENGTH_LIMIT:
            raise OverflowError(f"a shape computation gives more than {LENGTH_LIMIT} numbers")
        for number in _vector(result):
            if type(number) is int and not -(1 << 63) <= number < 1 << 63:
                raise OverflowError("a shape computation gives a number beyond 64 bits")
        return result

    compute.__name__ = function.__name__
    return compute


def _repeat(number: Number, count: Any) -> tuple[Number, ...]:
    """A vector of one number, after a check of its length."""
    if count > LENGTH_LIMIT:
        raise OverflowError(f"a shape computation gives {count} numbers, at most {LENGTH_LIMIT} are allowed")
    return (number,) * int(count)


def _vector(value: Host) -> tuple[Number, ...]:
    """A host value as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def _elementwise(function: Callable[..., Number]) -> Callable[..., Host]:
    """Apply a function of numbers element by element, with numpy's broadcasting."""

    def apply(*values: Host) -> Host:
        if not any(isinstance(value, tuple) for value in values):
            return function(*values)
        vectors = [_vector(value) for value in values]
        lengths = [len(v) for v in vectors]
        size = 0 if 0 in lengths else max(lengths)
        stretched = [v * size if len(v) == 1 else v for v in vectors]
        return tuple(function(*numbers) for numbers in zip(*stretched, strict=True))

    return apply


def _divide(a: Any, b: Any) -> Number:
    """Divide integers towards zero.

    For non-negative numbers ``//`` does so, and also works on torch's symbolic integers.
    """
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    return a // b if a >= 0 and b > 0 else int(math.copysign(1, a) * math.copysign(1, b)) * (abs(a) // abs(b))


def _power(a: Any, b: Any) -> Number:
    if isinstance(a, float):
        return a**b
    if b > 64 and abs(a) > 1:
        raise OverflowError("a shape computation gives a number beyond 64 bits")
    return int(a**b)


_NUMBERS: dict[str, Callable[..., Number]] = {
    "Add": py.add,
    "Sub": py.sub,
    "Mul": py.mul,
    "Div": _divide,
    "Pow": _power,
    "Neg": py.neg,
    "Abs": abs,
    "Sqrt": math.sqrt,
    "Reciprocal": lambda a: 1 / a,
    "Floor": lambda a: float(math.floor(a)),
    "Ceil": lambda a: float(math.ceil(a)),
    "Round": lambda a: float(round(a)),
    "Min": lambda *xs: min(xs),
    "Max": lambda *xs: max(xs),
    "Sum": lambda *xs: sum(xs),
    "Equal": py.eq,
    "Less": py.lt,
    "LessOrEqual": py.le,
    "Greater": py.gt,
    "GreaterOrEqual": py.ge,
    "And": lambda a, b: a and b,
    "Or": lambda a, b: a or b,
    "Not": py.not_,
    "Where": lambda condition, a, b: a if condition else b,
}
for _name, _function in _NUMBERS.items():
    _TABLE[_name] = _bounded(_elementwise(_function))


@_host("Mod")
def mod(a: Host, b: Host, *, fmod: int = 0) -> Host:
    """The remainder, with the sign of the divisor, or with ``fmod`` that of the dividend."""
    return _elementwise(lambda x, y: type(x)(math.fmod(x, y)) if fmod else x % y)(a, b)


@_host("Identity")
def identity(x: Host) -> Host:
    """x."""
    return x


@_host("Cast")
def cast(x: Host, *, to: int, **_saturation: Any) -> Host:
    """Numbers as int, float or bool; ``to`` is an ONNX element type."""
    convert: Callable[[Any], Number] = float if to in (1, 10, 11, 16) else bool if to == 9 else int

    def convert_number(v: Any) -> Number:
        symbolic = convert is int and isinstance(v, torch.SymInt)
        return v if symbolic or type(v) is convert else convert(v)

    return tuple(convert_number(v) for v in x) if isinstance(x, tuple) else convert_number(x)


@_host("Shape")
def shape(x: Host, *, start: int = 0, end: int | None = None) -> Host:
    """The shape of a host value: its length, or nothing for a number."""
    return ((len(x),) if isinstance(x, tuple) else ())[start:end]


@_host("Size")
def size(x: Host) -> Host:
    """The number of elements."""
    return len(_vector(x))


@_host("ConstantOfShape")
def constant_of_shape(shape: Host, *, value: Host = 0.0) -> Host:
    """A vector of ``shape`` equal numbers, or one number for an empty shape."""
    sizes, (element,) = _vector(shape), _vector(value)
    if len(sizes) > 1:
        raise NotImplementedError("a shape computation on more than one axis is not supported")
    return _repeat(element, sizes[0]) if len(sizes) else element


@_host("Range")
def range_(start: Host, limit: Host, delta: Host) -> Host:
    """Numbers from ``start`` to before ``limit`` in steps of ``delta``."""
    first, last, step = (_vector(v)[0] for v in (start, limit, delta))
    count = max(math.ceil((last - first) / step), 0)
    if count > LENGTH_LIMIT:
        raise OverflowError(f"a shape computation gives {count} numbers, at most {LENGTH_LIMIT} are allowed")
    return tuple(first + i * step for i in range(count))


@_host("Expand")
def expand(x: Host, shape: Host) -> Host:
    """A number or a vector of one element repeated to the length in ``shape``."""
    sizes = _vector(shape)
    if len(sizes) > 1:
        raise NotImplementedError("a shape computation on more than one axis is not supported")
    if len(sizes) == 0:
        return x
    values = _vector(x)
    return _repeat(values[0], sizes[0]) if len(values) == 1 else values


@_host("Gather")
def gather(x: Host, indices: Host, *, axis: int = 0) -> Host:
    """Elements of a vector by index."""
    values = _vector(x)
    if isinstance(indices, tuple):
        return tuple(values[int(i)] for i in indices)
    return values[int(indices)]


@_host("Concat")
def concat(*xs: Host, axis: int = 0) -> Host:
    """Numbers and vectors joined to one vector."""
    return tuple(v for x in xs for v in _vector(x))


@_host("Unsqueeze")
def unsqueeze(x: Host, axes: Host | None = None) -> Host:
    """A number as a vector of one element."""
    if isinstance(x, tuple):
        raise NotImplementedError("a shape computation on more than one axis is not supported")
    return (x,)


@_host("Squeeze")
def squeeze(x: Host, axes: Host | None = None) -> Host:
    """A vector of one element as a number."""
    return x[0] if isinstance(x, tuple) and len(x) == 1 else x


@_host("Reshape")
def reshape(x: Host, shape: Host, *, allowzero: int = 0) -> Host:
    """A vector if ``shape`` has one entry, a number if it has none."""
    target = _vector(shape)
    if len(target) > 1:
        raise NotImplementedError("a shape computation on more than one axis is not supported")
    return _vector(x) if len(target) else _vector(x)[0]


@_host("Slice")
def slice_(
    x: Host,
    starts: Host,
    ends: Host,
    axes: Host | None = None,
    steps: Host | None = None,
) -> Host:
    """Part of a vector."""
    start, end, step = (int(_vector(v)[0]) for v in (starts, ends, 1 if steps is None else steps))
    values = _vector(x)
    # For an end before the first element, numpy goes down to the first element; Python needs None for that.
    return values[start : None if step < 0 and end < -len(values) else end : step]


def _register_reduction(name: str, combine: Callable[[tuple[Any, ...]], Number]) -> None:
    """Register a reduction over all elements."""

    @_host(name)
    def reduce(x: Host, axes: Host | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Host:
        total = combine(_vector(x))
        return (total,) if keepdims and isinstance(x, tuple) else total


def _product(values: tuple[Any, ...]) -> Number:
    total: Any = 1
    for value in values:
        total = total * value
    return total


_register_reduction("ReduceProd", _product)
_register_reduction("ReduceSum", sum)
_register_reduction("ReduceMax", max)
_register_reduction("ReduceMin", min)
