"""onnxruntime's quantised arithmetic and pooling: dequantise, compute, quantise.

Some of its kernels add the zero point before they round, others after. The tests compare all
values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.importer.operators.activation import softmax, softmax_flattened
from zskd_onnx.importer.operators.global_pooling import global_average_pool
from zskd_onnx.importer.operators.pooling import average_pool
from zskd_onnx.importer.operators.quantization import dequantize, dequantize_linear, quantize_linear, to_integers
from zskd_onnx.importer.operators.registry import operator

MICROSOFT = "com.microsoft"


def _quantize(x: Tensor, scale: Tensor, zero_point: Tensor | None, *, zero_point_first: bool = False) -> Tensor:
    if zero_point is None:
        return to_integers(x / scale, 0.0, torch.uint8)
    return to_integers(x / scale, zero_point, zero_point.dtype, zero_point_first=zero_point_first)


def _register_binary(name: str, compute: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Register an operator of two quantised inputs."""

    @operator(name, (1,), domain=MICROSOFT)
    def binary(
        a: Tensor,
        a_scale: Tensor,
        a_zero: Tensor | None,
        b: Tensor,
        b_scale: Tensor,
        b_zero: Tensor | None,
        y_scale: Tensor,
        y_zero: Tensor | None = None,
    ) -> Tensor:
        y = compute(dequantize(a, a_scale, a_zero), dequantize(b, b_scale, b_zero))
        return _quantize(y, y_scale, y_zero, zero_point_first=True)


_register_binary("QLinearAdd", torch.add)
_register_binary("QLinearMul", torch.mul)


def _register_unary(name: str, compute: Callable[..., Tensor], *, zero_point_first: bool = False) -> None:
    """Register an operator of one quantised input."""

    @operator(name, (1,), domain=MICROSOFT)
    def unary(
        x: Tensor,
        x_scale: Tensor,
        x_zero: Tensor | None,
        y_scale: Tensor,
        y_zero: Tensor | None = None,
        **attributes: Any,
    ) -> Tensor:
        return _quantize(
            compute(dequantize(x, x_scale, x_zero), **attributes), y_scale, y_zero, zero_point_first=zero_point_first
        )


def _leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


def _softmax(x: Tensor, *, opset: int, axis: int = -1) -> Tensor:
    """Softmax as an opset of ai.onnx defines it."""
    return softmax(x, axis=axis) if opset >= 13 else softmax_flattened(x, axis=axis)


def _channels_first(pool: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Give a pooling function the attribute ``channels_last``."""

    def compute(x: Tensor, *, channels_last: int = 0, **attributes: Any) -> Tensor:
        if not channels_last:
            return pool(x, **attributes)
        return pool(x.movedim(-1, 1), **attributes).movedim(1, -1)

    return compute


_register_unary("QLinearSigmoid", torch.sigmoid)
_register_unary("QLinearLeakyRelu", _leaky_relu)
_register_unary("QLinearSoftmax", _softmax)
_register_unary("QLinearAveragePool", _channels_first(average_pool), zero_point_first=True)
_register_unary("QLinearGlobalAveragePool", _channels_first(global_average_pool))


@operator("QLinearConcat", (1,), domain=MICROSOFT)
def qlinear_concat(y_scale: Tensor, y_zero: Tensor, *triples: Tensor, axis: int) -> Tensor:
    """Quantised inputs joined along an axis; ``triples`` repeats an input, its scale and its zero point."""
    parts = [dequantize(*triples[i : i + 3]) for i in range(0, len(triples), 3)]
    return _quantize(torch.cat(parts, axis), y_scale, y_zero)


@operator("QuantizeLinear", (1,), domain=MICROSOFT)
def microsoft_quantize_linear(x: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, axis: int = 1) -> Tensor:
    """``quantization.quantize_linear``."""
    return quantize_linear(x, scale, zero_point, axis=axis)


@operator("DequantizeLinear", (1,), domain=MICROSOFT)
def microsoft_dequantize_linear(x: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, axis: int = 1) -> Tensor:
    """``quantization.dequantize_linear``."""
    return dequantize_linear(x, scale, zero_point, axis=axis)
