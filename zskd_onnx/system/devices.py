"""Where tensors go."""

from __future__ import annotations

import torch

from zskd_onnx.errors import UsageError

CPU_MEMORY = 4 << 30
"""Bytes."""


def memory(device: torch.device) -> int:
    """Bytes that activations may take: half of a GPU's memory, 4 GiB of a CPU's, which others share."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // 2
    return CPU_MEMORY


def choose_device(name: str) -> torch.device:
    """The device of a name: "auto" is CUDA where one answers, and else the CPU.

    Raises:
        UsageError: another name than auto, cpu or cuda, or no CUDA device answers.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device '{name}': expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device 'cuda': no CUDA device answers; use --device cpu (zskd-onnx doctor shows what is there)"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
