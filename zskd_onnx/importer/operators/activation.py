"""Activation functions and the softmax family."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.importer.operators.registry import operator
from zskd_onnx.importer.operators.unsigned import widens_unsigned


@operator("Relu", (6, 13, 14))
def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return F.relu(x)


@operator("LeakyRelu", (6, 16))
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """x where x is at least 0, alpha x elsewhere."""
    return F.leaky_relu(x, alpha)


@operator("PRelu", (7, 9, 16))
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """x where x is at least 0, slope x elsewhere. The slope broadcasts to x from the right, as in numpy."""
    return torch.where(x < 0, x * slope, x)


@operator("Elu", (6, 22))
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x where x is above 0, alpha (exp(x) - 1) elsewhere."""
    return F.elu(x, alpha)


@operator("Selu", (6, 22))
def selu(x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    """gamma x where x is above 0, gamma alpha (exp(x) - 1) elsewhere."""
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


@operator("Celu", (12, 28))
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1))."""
    return F.celu(x, alpha)


@operator("Sigmoid", (6, 13))
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


@operator("HardSigmoid", (6, 22))
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """alpha x + beta, limited to [0, 1]."""
    return (alpha * x + beta).clamp(0, 1)


@operator("HardSwish", (14, 22))
def hard_swish(x: Tensor) -> Tensor:
    """x times a hard sigmoid with alpha = 1/6 and beta = 1/2."""
    return F.hardswish(x)


@operator("Tanh", (6, 13))
def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(x)


@operator("Softplus", (1, 22))
def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return torch.logaddexp(x, torch.zeros_like(x))


@operator("Softsign", (1, 22))
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return F.softsign(x)


@operator("Gelu", (20,))
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """x times the normal distribution's cumulative function, exact or by tanh (``approximate="tanh"``)."""
    return F.gelu(x, approximate=approximate)


@operator("Mish", (18, 22))
def mish(x: Tensor) -> Tensor:
    """x tanh(softplus(x))."""
    return F.mish(x)


@operator("Swish", (24,))
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x sigmoid(alpha x)."""
    return x * torch.sigmoid(alpha * x)


@operator("ThresholdedRelu", (10, 22))
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x where x is above alpha, 0 elsewhere."""
    return torch.where(x > alpha, x, torch.zeros_like(x))


@operator("Clip", (6,))
def clip_attributes(x: Tensor, *, min: float = -3.4028234663852886e38, max: float = 3.4028234663852886e38) -> Tensor:
    """x limited to [min, max], which are attributes in version 6."""
    return x.clamp(min, max)


@operator("Clip", (11, 12, 13))
@widens_unsigned
def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """x limited to [low, high]; a bound of None does not limit."""
    if low is not None:
        x = torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _over_flattened(x: Tensor, axis: int, function: Callable[..., Tensor]) -> Tensor:
    """Apply a softmax over all axes from ``axis`` on together, as opsets below 13 define it."""
    split = axis + x.ndim if axis < 0 else axis
    flat = x.reshape(math.prod(x.shape[:split]), -1) if split else x.reshape(1, -1)
    return function(flat, dim=1).reshape(x.shape)


@operator("Softmax", (1, 11))
def softmax_flattened(x: Tensor, *, axis: int = 1) -> Tensor:
    """Softmax over all axes from ``axis`` on together."""
    return _over_flattened(x, axis, F.softmax)


@operator("Softmax", (13,))
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Softmax along one axis."""
    return F.softmax(x, dim=axis)


@operator("LogSoftmax", (1, 11))
def log_softmax_flattened(x: Tensor, *, axis: int = 1) -> Tensor:
    """The logarithm of ``softmax_flattened``."""
    return _over_flattened(x, axis, F.log_softmax)


@operator("LogSoftmax", (13,))
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """The logarithm of ``softmax``."""
    return F.log_softmax(x, dim=axis)


def _hardmax(x: Tensor, dim: int) -> Tensor:
    """One at the first largest value, zero elsewhere; its gradient is zero."""
    return torch.zeros_like(x).scatter(dim, x.argmax(dim, keepdim=True), 1.0)


@operator("Hardmax", (1, 11))
def hardmax_flattened(x: Tensor, *, axis: int = 1) -> Tensor:
    """Hardmax over all axes from ``axis`` on together."""
    return _over_flattened(x, axis, _hardmax)


@operator("Hardmax", (13,))
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """One at the first largest value along an axis, zero elsewhere."""
    return _hardmax(x, axis)
