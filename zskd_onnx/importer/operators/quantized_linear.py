"""Matrix products and convolutions of quantised values, which ``quantization`` describes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zskd_onnx.importer.operators.convolution import conv
from zskd_onnx.importer.operators.quantization import aligned, dynamic_quantize_linear, to_integers
from zskd_onnx.importer.operators.registry import operator


def _rows(parameter: Tensor) -> Tensor:
    """A scale or zero point of the left operand, reshaped to one for each row."""
    return parameter.unsqueeze(-1) if parameter.ndim == 1 and parameter.numel() > 1 else parameter


def _centred(x: Tensor, zero_point: Tensor | None) -> Tensor:
    """x - zero point, as float32."""
    return x.float() if zero_point is None else x.float() - zero_point.float()


@operator("MatMulInteger", (10,))
def matmul_integer(a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None) -> Tensor:
    """(a - a_zero) (b - b_zero); zero points are per tensor, per row of a, or per column of b."""
    return torch.matmul(_centred(a, None if a_zero is None else _rows(a_zero)), _centred(b, b_zero))


@operator("QLinearMatMul", (10, 21))
def qlinear_matmul(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
) -> Tensor:
    """The product of two quantised matrices, quantised."""
    scale = _rows(a_scale).float() * b_scale.float() / _rows(y_scale).float()
    return to_integers(matmul_integer(a, b, a_zero, b_zero) * scale, _rows(y_zero), y_zero.dtype)


@operator("ConvInteger", (10,))
def conv_integer(
    x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None, **attributes: Any
) -> Tensor:
    """The convolution of x - x_zero with w - w_zero; padding has the value x_zero."""
    weight = _centred(w, None if w_zero is None else aligned(w_zero, w, 0))
    return conv(_centred(x, x_zero), weight, **attributes)


@operator("QLinearConv", (10,))
def qlinear_conv(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
    **attributes: Any,
) -> Tensor:
    """A quantised convolution.

    The bias is in units of x_scale * w_scale. Scale and zero point of w are per tensor or per filter.
    """
    total = conv_integer(x, w, x_zero, w_zero, **attributes)
    if bias is not None:
        total = total + aligned(bias.float(), total, 1)
    return to_integers(total * (x_scale * aligned(w_scale, total, 1) / y_scale), y_zero, y_zero.dtype)


@operator("QGemm", (1,), domain="com.microsoft")
def qgemm(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    c: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero: Tensor | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha (A' B' + C), where C is in units of alpha * a_scale * b_scale; real numbers without y_scale."""
    a, b = _centred(a, a_zero), _centred(b, aligned(b_zero, b, 0 if transB else 1))
    total = torch.matmul(a.T if transA else a, b.T if transB else b)
    if c is not None:
        total = total + c.float()
    scale = alpha * a_scale * b_scale
    if y_scale is None or y_zero is None:
        return total * scale
    return to_integers(total * (scale / y_scale), y_zero, y_zero.dtype)


@operator("DynamicQuantizeMatMul", (1,), domain="com.microsoft")
def dynamic_quantize_matmul(
    a: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """The product of a, quantised to uint8 by its own range, and b, plus the bias."""
    integers, scale, zero = dynamic_quantize_linear(a, num_outputs=3)
    return matmul_integer_to_float(integers, b, scale, b_scale, zero, b_zero, bias)


@operator("MatMulIntegerToFloat", (1,), domain="com.microsoft")
def matmul_integer_to_float(
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero: Tensor | None = None,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The product of two quantised matrices in real numbers, plus the bias."""
    y = matmul_integer(a, b, a_zero, b_zero) * (_rows(a_scale) * b_scale)
    return y if bias is None else y + bias
