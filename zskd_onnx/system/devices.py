"""Choice of the torch device, and its memory."""

from __future__ import annotations

import torch

from zskd_onnx.errors import UsageError
from zskd_onnx.system.ranks import ranks

CPU_MEMORY = 4 << 30
"""Bytes of a CPU's memory that activations may take; other processes share it."""


def memory(device: torch.device) -> int:
    """Number of bytes that activations may take: half of a GPU's memory, or 4 GiB on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // 2
    return CPU_MEMORY


def choose_device(name: str) -> torch.device:
    """The torch device for "auto", "cpu" or "cuda"; "auto" is CUDA if it is available, otherwise the CPU.

    Each process of a run that torchrun started has a GPU of its own, as far as there are enough.

    Raises:
        UsageError: the name is another one, or CUDA is not available.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device '{name}': expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device 'cuda': no CUDA device is available; use --device cpu (zskd-onnx doctor lists the devices)"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    place = ranks()
    return torch.device("cuda") if place.count == 1 else torch.device("cuda", place.local % torch.cuda.device_count())
