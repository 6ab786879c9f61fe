"""Where tensors go."""

from __future__ import annotations

import torch

from zskd_onnx.errors import UsageError


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
