"""Normalisation layers in inference mode."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.importer.operators.constant import TORCH_DTYPE
from zskd_onnx.importer.operators.registry import first_outputs, operator


@operator("BatchNormalization", (9, 14, 15))
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    """x (N, C, *size) normalised with stored statistics; the other inputs are (C,)."""
    if training_mode:
        raise NotImplementedError("training_mode = 1; export the model in inference mode")
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


@operator("BatchNormalization", (7,))
def batch_normalization_7(
    x: Tensor, *statistics: Tensor, epsilon: float = 1e-5, momentum: float = 0.9, spatial: int = 1
) -> Tensor:
    """``batch_normalization`` as in version 7, which also allows statistics for each position."""
    if not spatial:
        raise NotImplementedError("spatial = 0 (statistics for each position) is not supported; expected 1")
    return batch_normalization(x, *statistics, epsilon=epsilon)


@operator("InstanceNormalization", (6, 22))
def instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """x (N, C, *size) normalised over the positions of each channel; scale and bias are (C,)."""
    return group_normalization(x, scale, bias, num_groups=x.shape[1], epsilon=epsilon)


@operator("GroupNormalization", (18,))
def group_normalization_18(x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5) -> Tensor:
    """``group_normalization`` as in version 18, where scale and bias are (num_groups,)."""
    width = x.shape[1] // num_groups
    scale, bias = scale.repeat_interleave(width), bias.repeat_interleave(width)
    return group_normalization(x, scale, bias, num_groups=num_groups, epsilon=epsilon)


@operator("GroupNormalization", (21,))
def group_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """x (N, C, *size) normalised over groups of channels; scale and bias are (C,)."""
    return torch.group_norm(x, num_groups, scale, bias, epsilon)


@operator("LayerNormalization", (1, 17), counts_outputs=True)
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    num_outputs: int,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """x normalised over the axes from ``axis`` on, the mean, and the inverse of the standard deviation."""
    axis = axis % x.ndim
    shape = tuple(x.shape[axis:])
    if num_outputs == 1 and scale.shape == shape and (bias is None or bias.shape == shape):
        return F.layer_norm(x, shape, scale, bias, epsilon)
    stash = x.to(TORCH_DTYPE[stash_type])
    variance, mean = torch.var_mean(stash, tuple(range(axis, x.ndim)), correction=0, keepdim=True)
    inverse = torch.rsqrt(variance + epsilon)
    y = ((stash - mean) * inverse).to(x.dtype) * scale
    return first_outputs((y if bias is None else y + bias, mean, inverse), num_outputs)


@operator("RMSNormalization", (23,))
def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """x divided by its root mean square over the axes from ``axis`` on, times ``scale``."""
    stash = x.to(TORCH_DTYPE[stash_type])
    power = stash.square().mean(tuple(range(axis % x.ndim, x.ndim)), keepdim=True)
    return (stash * torch.rsqrt(power + epsilon)).to(x.dtype) * scale


@operator("LpNormalization", (1, 22))
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """x divided by its p-norm along ``axis``; where the norm is zero, x stays zero."""
    norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)


@operator("MeanVarianceNormalization", (9, 13))
def mean_variance_normalization(x: Tensor, *, axes: tuple[int, ...] = (0, 2, 3)) -> Tensor:
    """x with mean zero and variance one over ``axes``."""
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)


@operator("LRN", (1, 13))
def local_response_normalization(
    x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Tensor:
    """Each value divided by (bias + alpha / size * sum of squares over ``size`` channels)^beta; x is (N, C, *positions).

    Local response normalisation (Krizhevsky et al. 2012, section 3.3). A convolution with a band matrix adds the squares: forward and backward take a third of the time of torch's function.
    """
    channels = torch.arange(x.shape[1], device=x.device)
    distance = channels - channels[:, None]
    band = ((distance >= -((size - 1) // 2)) & (distance <= size // 2)).to(x.dtype) * (alpha / size)
    squares = x.square()
    as_image = squares if x.ndim == 4 else squares.reshape(len(x), len(channels), -1, 1)
    window = F.conv2d(as_image, band[..., None, None]).reshape(x.shape)
    return x * (bias + window).pow(-beta)
