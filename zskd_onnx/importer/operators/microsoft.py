"""Operators of onnxruntime's own domain (com.microsoft), which its optimiser writes into files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.importer.operators.convolution import conv
from zskd_onnx.importer.operators.normalization import layer_normalization
from zskd_onnx.importer.operators.registry import first_outputs, operator

MICROSOFT = "com.microsoft"

_ACTIVATION: dict[str, Callable[..., Tensor]] = {
    "Relu": F.relu,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "Clip": lambda x, low, high: x.clamp(low, high),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: (alpha * x + beta).clamp(0, 1),
}
"""Activations of FusedConv; their parameters are its ``activation_params``."""


@operator("FusedConv", (1,), domain=MICROSOFT)
def fused_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    added: Tensor | None = None,
    *,
    activation: str | None = None,
    activation_params: Sequence[float] = (),
    **attributes: Any,
) -> Tensor:
    """activation(conv(x) + added)."""
    y = conv(x, weight, bias, **attributes)
    y = y if added is None else y + added
    if activation is None:
        return y
    if activation not in _ACTIVATION:
        raise NotImplementedError(f"activation '{activation}'; expected one of {', '.join(_ACTIVATION)}")
    return _ACTIVATION[activation](y, *activation_params)


@operator("FusedMatMul", (1,), domain=MICROSOFT)
def fused_matmul(
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:
    """alpha A' B'; ``transBatchA`` moves the first axis of a behind its other batch axes, likewise b."""
    a = a.movedim(0, -2) if transBatchA else a
    b = b.movedim(0, -2) if transBatchB else b
    return alpha * torch.matmul(a.mT if transA and a.ndim > 1 else a, b.mT if transB and b.ndim > 1 else b)


@operator("Gelu", (1,), domain=MICROSOFT)
def gelu(x: Tensor) -> Tensor:
    """The exact GELU."""
    return F.gelu(x)


@operator("QuickGelu", (1,), domain=MICROSOFT)
def quick_gelu(x: Tensor, *, alpha: float = 1.702) -> Tensor:
    """x sigmoid(alpha x), which approximates GELU."""
    return x * torch.sigmoid(alpha * x)


@operator("FastGelu", (1,), domain=MICROSOFT)
def fast_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU of x + bias, approximated by tanh."""
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@operator("BiasGelu", (1,), domain=MICROSOFT)
def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """The exact GELU of x + bias."""
    return F.gelu(x + bias)


@operator("LayerNormalization", (1,), domain=MICROSOFT, counts_outputs=True)
def microsoft_layer_normalization(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, num_outputs: int, **attributes: Any
) -> Tensor | tuple[Tensor, ...]:
    """``normalization.layer_normalization``."""
    return layer_normalization(x, scale, bias, num_outputs=num_outputs, **attributes)


@operator("SkipLayerNormalization", (1,), domain=MICROSOFT, counts_outputs=True)
def skip_layer_normalization(
    x: Tensor,
    skip: Tensor,
    gamma: Tensor,
    beta: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    num_outputs: int,
    epsilon: float = 1e-12,
) -> Tensor | tuple[Tensor | None, ...]:
    """Layer normalisation of x + skip + bias; its fourth output is that sum."""
    total = x + skip if bias is None else x + skip + bias
    y, mean, inverse = layer_normalization(total, gamma, beta, num_outputs=3, epsilon=epsilon)
    return first_outputs((y, mean, inverse, total), num_outputs)
