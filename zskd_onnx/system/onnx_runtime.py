"""onnxruntime sessions: the providers that this machine has, integers added up exactly, and no chatter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

EXACT_INTEGERS = "session.x64quantprecision"
"""On x86 without VNNI onnxruntime adds up products of 8-bit integers in 16 bits, which saturate, unless its optimiser is told not
to. What it gives then is not what the file says, nor what it gives on another machine."""

ort.set_default_logger_severity(4)


def providers() -> list[str]:
    """CUDA where a device answers, then the CPU.

    onnxruntime-gpu lists CUDA even on a machine without a device, and complains at every session
    that asks for it; torch knows whether there is one.
    """
    import torch

    wanted = ["CUDAExecutionProvider"] if torch.cuda.is_available() else []
    return [p for p in wanted if p in ort.get_available_providers()] + ["CPUExecutionProvider"]


def open_session(
    model: str | Path | bytes, *, folder: Path | None = None, optimise: bool = True, reuse_memory: bool = True
) -> ort.InferenceSession:
    """A session on a file, or on a serialised model.

    Args:
        folder: where a serialised model's external data lie.
        optimise: False runs the graph node by node, as it is written.
        reuse_memory: False keeps every value to the end; a session on thousands of nodes then
            opens ten times as fast.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 0
    options.enable_mem_reuse = reuse_memory
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder.resolve()))
    given = model if isinstance(model, bytes) else str(model)
    options.add_session_config_entry(EXACT_INTEGERS, "1")
    try:
        return ort.InferenceSession(given, sess_options=options, providers=providers())
    except NoKernel:
        # Exact sums need unsigned weights, and there is no kernel for those where a convolution's input is signed.
        options.add_session_config_entry(EXACT_INTEGERS, "0")
        return ort.InferenceSession(given, sess_options=options, providers=providers())


def run(session: ort.InferenceSession, x: np.ndarray, outputs: list[str] | None = None) -> list[np.ndarray]:
    """Run a one-input session, whatever batch size the file allows.

    Args:
        x: the input, (N, ...). Where the file fixes its batch size to B, the last samples are
            repeated up to a multiple of B, and what they give is left out.
        outputs: names to compute; all if None.

    Returns:
        An array for each output, (N, ...). A ZipMap's becomes (N, K), its keys in order.
    """
    (declared,) = session.get_inputs()
    batch = declared.shape[0] if declared.shape else None
    step = batch if isinstance(batch, int) and batch > 0 else len(x)
    missing = -len(x) % step
    filled = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) if missing else x
    parts = [session.run(outputs, {declared.name: filled[i : i + step]}) for i in range(0, len(filled), step)]
    return [np.concatenate([_array(part) for part in column])[: len(x)] for column in zip(*parts, strict=True)]


def _array(values: object) -> np.ndarray:
    if isinstance(values, list) and values and isinstance(values[0], dict):
        return np.array([[row[key] for key in sorted(row)] for row in values], dtype=np.float32)
    return values[0] if isinstance(values, list) else np.asarray(values)
