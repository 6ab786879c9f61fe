"""onnxruntime sessions: the providers that this machine has, and no chatter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

ort.set_default_logger_severity(4)


def providers() -> list[str]:
    """CUDA where a device answers, then the CPU.

    onnxruntime-gpu lists CUDA even on a machine without a device, and complains at every session
    that asks for it; torch knows whether there is one.
    """
    import torch

    wanted = ["CUDAExecutionProvider"] if torch.cuda.is_available() else []
    return [p for p in wanted if p in ort.get_available_providers()] + ["CPUExecutionProvider"]


def open_session(model: str | Path | bytes) -> ort.InferenceSession:
    """A session on a file, or on a serialised model."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 0
    return ort.InferenceSession(
        model if isinstance(model, bytes) else str(model), sess_options=options, providers=providers()
    )


def run(session: ort.InferenceSession, x: np.ndarray, outputs: list[str] | None = None) -> list[np.ndarray]:
    """Run a one-input session, whatever batch size the file allows.

    Args:
        x: the input, (N, ...). Where the file fixes its batch size to B, N must be a multiple of
            B and the file runs N / B times.
        outputs: names to compute; all if None.
    """
    (declared,) = session.get_inputs()
    batch = declared.shape[0] if declared.shape else None
    step = batch if isinstance(batch, int) else len(x)
    parts = [session.run(outputs, {declared.name: x[i : i + step]}) for i in range(0, len(x), step)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
