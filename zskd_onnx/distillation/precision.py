"""The arithmetic of training: float32, or bfloat16 where the processor has it and the teacher's answers stay."""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.distillation.settings import Precision
from zskd_onnx.losses import soft_target_loss
from zskd_onnx.teacher.probes.outputs import TeacherView

COSTLY = 5_000_000
"""Multiply-adds of the teacher for one sample from which on bfloat16 saves time; below, the conversions cost more."""

LARGEST_DIVERGENCE = 1e-2
"""Largest mean KL divergence, in nats, of the teacher's answers in bfloat16 from those in float32."""


def choose_precision(setting: Precision, view: TeacherView, samples: Tensor) -> torch.dtype:
    """The number type in which convolutions and matrix products of a training stage are computed.

    "auto" takes bfloat16 on processors with instructions for it, for teachers that cost enough, and only where the
    teacher's answers on samples hardly change.

    Args:
        samples: (N, *shape) in the unit space.
    """
    if setting != "auto":
        return torch.bfloat16 if setting == "bfloat16" else torch.float32
    teacher = view.teacher
    device = next((buffer.device for buffer in teacher.buffers()), torch.device("cpu"))
    if not _has_bfloat16(device) or teacher.cost.multiply_adds < COSTLY:
        return torch.float32
    return (
        torch.bfloat16 if _divergence(view, samples.to(device, torch.float32)) <= LARGEST_DIVERGENCE else torch.float32
    )


def computing_in(precision: torch.dtype, device: torch.device) -> torch.autocast:
    """A context in which torch computes convolutions and matrix products in a number type."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a CPU multiplies bfloat16. GPUs were not measured, and keep float32."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in names)


@torch.no_grad()
def _divergence(view: TeacherView, x: Tensor) -> float:
    """Mean KL divergence of the teacher's answers in bfloat16; infinite where its graph does not run so."""
    exact = view.logits(x)
    try:
        with computing_in(torch.bfloat16, x.device):
            rounded = view(x).logits
    except RuntimeError:  # an operator that takes no mixture of number types
        return float("inf")
    return float(soft_target_loss(rounded, exact, 1.0).nan_to_num(float("inf")))
