"""Batch normalisation with the statistics of the whole batch, where several processes share the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from zskd_onnx.system.process_group import SumOverProcesses, together


def synchronised_normalisation() -> AbstractContextManager[object]:
    """A context in which batch normalisation in training mode sees the samples of all processes.

    torch's own SyncBatchNorm runs on GPUs alone, and is a module, which graphs of ONNX files do not have.
    """
    return _Synchronised() if together() else nullcontext()


class _Synchronised(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is F.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``torch.nn.functional.batch_norm`` over all processes; x (N, C, *size)."""
    if not training:
        return torch.batch_norm(
            x, weight, bias, running_mean, running_var, False, momentum, eps, torch.backends.cudnn.enabled
        )
    axes = [axis for axis in range(x.ndim) if axis != 1]
    values = x.float()
    own = torch.cat([values.sum(axes), values.square().sum(axes), values.new_tensor([values.numel() / x.shape[1]])])
    sums, squares, count = SumOverProcesses.apply(own).split([x.shape[1], x.shape[1], 1])
    mean = sums / count
    variance = squares / count - mean.square()
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * count / (count - 1)).to(running_var.dtype), momentum)
    shape = (1, -1, *[1] * (x.ndim - 2))
    scale = (variance.clamp_min(0) + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return (values * scale.view(shape) + shift.view(shape)).to(x.dtype)
