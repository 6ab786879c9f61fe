"""Operators that create tensors or change their type: constants, casts, ranges, dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from zskd_onnx.importer.operators.registry import operator

TORCH_DTYPE: dict[int, torch.dtype] = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.UINT16: torch.uint16,
    ir.DataType.UINT32: torch.uint32,
    ir.DataType.UINT64: torch.uint64,
    ir.DataType.BOOL: torch.bool,
}
"""ONNX element type -> torch element type."""


@operator("Constant", (1, 9, 11, 12, 13, 19, 21, 23, 24, 25))
def constant(
    *,
    value: Tensor | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
) -> Tensor:
    """The tensor in the one attribute that is set."""
    if value is not None:
        return value
    floats = value_float if value_float is not None else value_floats
    if floats is not None:
        return torch.tensor(floats, dtype=torch.float32)
    integers = value_int if value_int is not None else value_ints
    if integers is None:
        raise NotImplementedError("a constant that is not numeric; expected numbers")
    return torch.tensor(integers, dtype=torch.int64)


@operator("ConstantOfShape", (9, 20, 21, 23, 24, 25), host_inputs=(0,))
def constant_of_shape(shape: Sequence[int], *, value: Tensor | None = None) -> Tensor:
    """A tensor of a given shape that has one value everywhere; 0 by default."""
    if value is None:
        return torch.zeros(tuple(shape), dtype=torch.float32)
    return value.reshape(()).expand(tuple(shape)).clone()


@operator("Range", (11, 27), host_inputs=(0, 1, 2))
def arange(start: int | float, limit: int | float, delta: int | float, *, stash_type: int = 1) -> Tensor:
    """Numbers from ``start`` to before ``limit`` in steps of ``delta``, as float32 or int64."""
    dtype = torch.float32 if isinstance(start, float) else torch.int64
    count = max(math.ceil((limit - start) / delta), 0)
    return start + delta * torch.arange(count, dtype=dtype)


@operator("Cast", (6, 9, 13, 19, 21, 23, 24, 25, 28))
def cast(x: Tensor, *, to: int, **_saturation: Any) -> Tensor:
    """x in another element type. Attributes about saturation concern float8, which is not supported."""
    if to not in TORCH_DTYPE:
        raise NotImplementedError(f"a cast to {ir.DataType(to).name}, which torch does not have")
    return x.to(TORCH_DTYPE[to])


@operator("CastLike", (15, 19, 21, 23, 24, 25))
def cast_like(x: Tensor, like: Tensor, **_saturation: Any) -> Tensor:
    """x in the element type of ``like``."""
    return x.to(like.dtype)


@operator("Identity", (1, 13, 14, 16, 19, 21, 23, 24, 25))
def identity(x: Tensor) -> Tensor:
    """x."""
    return x


@operator("Dropout", (7, 10), counts_outputs=True)
def dropout(x: Tensor, *, num_outputs: int, ratio: float = 0.5) -> Tensor | tuple[Tensor, Tensor]:
    """x, as in inference mode, and if asked for a mask that is true everywhere."""
    return x if num_outputs == 1 else (x, torch.ones_like(x, dtype=torch.bool))


@operator("Dropout", (12, 13, 22), host_inputs=(1, 2), counts_outputs=True)
def dropout_with_mode(
    x: Tensor, ratio: float = 0.5, training_mode: bool = False, *, num_outputs: int, seed: int = 0
) -> Tensor | tuple[Tensor, Tensor]:
    """``dropout`` with its mode as an input; training mode is not supported."""
    if training_mode and ratio:
        raise NotImplementedError("training_mode = true; export the model in inference mode")
    return dropout(x, num_outputs=num_outputs)
