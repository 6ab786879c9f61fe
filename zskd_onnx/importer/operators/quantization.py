"""Quantisation with useful gradients.

Quantised values travel as float32 tensors that hold integers, so that gradients flow; int8 and
uint8 constants become such tensors where they are used. Forward values are exactly those of
ONNX. Backward is the straight-through estimator: rounding has gradient one, saturation gradient
zero outside its range. Integer sums are exact up to 2**24, and beyond it to float32's precision,
in which onnxruntime scales them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.importer.operators.constant import TORCH_DTYPE
from zskd_onnx.importer.operators.registry import operator


def round_through(x: Tensor) -> Tensor:
    """Round halves to even; the gradient passes as if x had not been rounded."""
    return x + (torch.round(x) - x).detach()


def to_integers(x: Tensor, zero_point: Tensor | float, dtype: torch.dtype, *, zero_point_first: bool = False) -> Tensor:
    """round(x) + zero point within the range of an integer type, as float32.

    Clamping before rounding gives the same value and keeps the rounding finite. The ends of the
    range are inside it: a black pixel has its whole gradient.

    Args:
        zero_point_first: round(x + zero point), which sends halves elsewhere where that is odd.
    """
    if dtype.is_floating_point:
        raise NotImplementedError("a zero point that is not an integer constant leaves the quantised type open")
    limits = torch.iinfo(dtype)
    x = x.float()
    offset = zero_point.float() if isinstance(zero_point, Tensor) else torch.tensor(zero_point, device=x.device)
    if zero_point_first:
        return round_through((x + offset).clamp(limits.min, limits.max))
    return round_through(torch.clamp(x, limits.min - offset, limits.max - offset)) + offset


def aligned(parameter: Tensor, x: Tensor, axis: int, block_size: int = 0) -> Tensor:
    """A scale or zero point (per tensor, per axis or per block) in a shape that broadcasts to x."""
    if parameter.numel() == 1:
        return parameter.reshape(())
    if parameter.ndim == 1 and not block_size:
        shape = [1] * x.ndim
        shape[axis] = -1
        return parameter.reshape(shape)
    return parameter.repeat_interleave(block_size, axis).narrow(axis, 0, x.shape[axis])


def dequantize(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """(x - zero point) * scale in the scale's type, of parameters that broadcast."""
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
    """round(x / scale) + zero point, saturated; per tensor, per axis or per block."""
    if zero_point is not None:
        dtype = zero_point.dtype
    elif output_dtype in TORCH_DTYPE or not output_dtype:
        dtype = TORCH_DTYPE[output_dtype] if output_dtype else torch.uint8
    else:
        raise NotImplementedError(f"output_dtype {output_dtype}")
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
    """(x - zero point) * scale; per tensor, per axis or per block."""
    offset = None if zero_point is None else aligned(zero_point, x, axis, block_size)
    y = dequantize(x, aligned(scale, x, axis, block_size), offset)
    return y.to(TORCH_DTYPE[output_dtype]) if output_dtype else y


@operator("DynamicQuantizeLinear", (11,), counts_outputs=True)
def dynamic_quantize_linear(x: Tensor, *, num_outputs: int) -> tuple[Tensor, ...]:
    """To uint8 with the scale and zero point of this very tensor, which take no gradient."""
    low = x.detach().amin().clamp(max=0)
    high = x.detach().amax().clamp(min=0)
    scale = torch.where(high == low, torch.ones_like(low), (high - low) / 255)
    zero_point = torch.round((-low / scale).clamp(0, 255))
    return to_integers(x / scale, zero_point, torch.uint8), scale, zero_point
