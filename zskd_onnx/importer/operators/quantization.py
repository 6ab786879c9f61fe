"""Quantisation with useful gradients.

Quantised values are float32 tensors that contain integers, so that they have gradients. int8 and
uint8 constants are converted where they are used. Forward values are exactly those of ONNX. The
backward pass is the straight-through estimator (Bengio et al. 2013): rounding has gradient one,
and saturation has gradient zero outside the range.

Integer sums are exact up to 2**24. Beyond that they have float32's precision, in which
onnxruntime scales them too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.importer.operators.constant import TORCH_DTYPE
from zskd_onnx.importer.operators.registry import operator


def round_straight_through(x: Tensor) -> Tensor:
    """Round to the nearest integer, halves to the even one; the gradient is one."""
    return x + (torch.round(x) - x).detach()


def to_integers(x: Tensor, zero_point: Tensor | float, dtype: torch.dtype, *, zero_point_first: bool = False) -> Tensor:
    """Round x, add the zero point, and saturate: integers as float32.

    Saturating before rounding gives the same value and keeps the rounding finite. The ends of the
    range count as inside: a black pixel has its whole gradient.

    Args:
        x: real values divided by their scale.
        zero_point: a tensor that broadcasts, or a number.
        dtype: the integer type whose range limits the result.
        zero_point_first: whether to add the zero point before rounding. For an odd zero point, halves
            then round to another integer.

    Raises:
        NotImplementedError: ``dtype`` is a floating-point type.
    """
    if dtype.is_floating_point:
        raise NotImplementedError(
            "the quantised type is unknown; expected a zero point that is a constant of an integer type"
        )
    limits = torch.iinfo(dtype)
    x = x.float()
    offset = zero_point.float() if isinstance(zero_point, Tensor) else torch.tensor(zero_point, device=x.device)
    if zero_point_first:
        return round_straight_through((x + offset).clamp(limits.min, limits.max))
    return round_straight_through(torch.clamp(x, limits.min - offset, limits.max - offset)) + offset


def aligned(parameter: Tensor, x: Tensor, axis: int, block_size: int = 0) -> Tensor:
    """Reshape a scale or zero point so that it broadcasts to x.

    Args:
        parameter: one element, one for each entry of ``axis``, or one for each block.
        x: the tensor that it belongs to.
        axis: the quantised axis.
        block_size: elements of a block along ``axis``; 0 without blocks.
    """
    if parameter.numel() == 1:
        return parameter.reshape(())
    if parameter.ndim == 1 and not block_size:
        shape = [1] * x.ndim
        shape[axis] = -1
        return parameter.reshape(shape)
    return parameter.repeat_interleave(block_size, axis).narrow(axis, 0, x.shape[axis])


def dequantize(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """(x - zero point) * scale, in the scale's type; the parameters broadcast to x."""
    centred = x.float() if zero_point is None else x.float() - zero_point.float()
    return centred.to(scale.dtype) * scale


@operator("QuantizeLinear", (10, 13, 19, 21, 23, 24, 25, 28))
def quantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    """round(x / scale) + zero point, saturated, as float32.

    Args:
        x: real values.
        scale: one element, one for each entry of ``axis``, or one for each block.
        zero_point: like ``scale``; its type is the quantised type. Default 0.
        axis: the quantised axis.
        block_size: elements of a block along ``axis``; 0 without blocks.
        output_dtype: the quantised type without a zero point, as ONNX numbers it; default uint8.
        precision: the type of the division, as ONNX numbers it; default that of ``scale``.
        saturate: concerns float8, which is not supported.

    Raises:
        NotImplementedError: the quantised type is not an integer type that torch has.
    """
    if zero_point is not None:
        dtype = zero_point.dtype
    elif output_dtype in TORCH_DTYPE or not output_dtype:
        dtype = TORCH_DTYPE[output_dtype] if output_dtype else torch.uint8
    else:
        raise NotImplementedError(f"output_dtype {output_dtype}, a type that torch does not have")
    divide_in = TORCH_DTYPE[precision] if precision else scale.dtype
    divided = x.to(divide_in) / aligned(scale, x, axis, block_size).to(divide_in)
    return to_integers(divided, 0.0 if zero_point is None else aligned(zero_point, x, axis, block_size), dtype)


@operator("DequantizeLinear", (10, 13, 19, 21, 23, 24, 25, 28))
def dequantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """(x - zero point) * scale.

    Args:
        x: integers.
        scale: one element, one for each entry of ``axis``, or one for each block.
        zero_point: like ``scale``; default 0.
        axis: the quantised axis.
        block_size: elements of a block along ``axis``; 0 without blocks.
        output_dtype: the result's type, as ONNX numbers it; default that of ``scale``.
    """
    offset = None if zero_point is None else aligned(zero_point, x, axis, block_size)
    y = dequantize(x, aligned(scale, x, axis, block_size), offset)
    return y.to(TORCH_DTYPE[output_dtype]) if output_dtype else y


@operator("DynamicQuantizeLinear", (11,), counts_outputs=True)
def dynamic_quantize_linear(x: Tensor, *, num_outputs: int) -> tuple[Tensor, ...]:
    """x as uint8, the scale and the zero point; both come from x's range, without a gradient."""
    low = x.detach().amin().clamp(max=0)
    high = x.detach().amax().clamp(min=0)
    scale = torch.where(high == low, torch.ones_like(low), (high - low) / 255)
    zero_point = torch.round((-low / scale).clamp(0, 255))
    return to_integers(x / scale, zero_point, torch.uint8), scale, zero_point
