"""onnxruntime sessions with this machine's providers, exact integer sums and no log output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

EXACT_INTEGERS = "session.x64quantprecision"
"""Option for exact sums of 8-bit products.

Without it, onnxruntime on x86 CPUs without VNNI adds them in 16 bits, which saturate. Its results then
differ from the ONNX specification and between machines."""

ort.set_default_logger_severity(4)


def providers() -> list[str]:
    """The execution providers: CUDA if a device is available, then the CPU.

    onnxruntime-gpu lists CUDA even on a machine without a device, and warns in every session that
    requests it. So torch is asked.
    """
    import torch

    gpu = ["CUDAExecutionProvider"] if torch.cuda.is_available() else []
    return [p for p in gpu if p in ort.get_available_providers()] + ["CPUExecutionProvider"]


def open_session(
    model: str | Path | bytes,
    *,
    folder: Path | None = None,
    optimise: bool = True,
    reuse_memory: bool = True,
    on_cpu: bool = False,
    exact_integers: bool = True,
) -> ort.InferenceSession:
    """An onnxruntime session for a file or a serialised model, with as many threads on the CPU as torch has.

    Args:
        model: a path, or the bytes of a serialised model.
        folder: folder with the external data of a serialised model.
        optimise: whether onnxruntime may optimise the graph; False runs it node by node.
        reuse_memory: whether buffers are reused. False makes the session for a graph of thousands of nodes
            ten times as fast to open.
        on_cpu: whether no other device may be used.
        exact_integers: whether products of 8 bits are summed exactly on every CPU, which takes twice as long; by default
            onnxruntime does so only where the CPU has instructions for it.
    """
    import torch

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    options.enable_mem_reuse = reuse_memory
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder.resolve()))
    source = model if isinstance(model, bytes) else str(model)
    devices = ["CPUExecutionProvider"] if on_cpu else providers()
    options.add_session_config_entry(EXACT_INTEGERS, "1" if exact_integers else "0")
    try:
        return ort.InferenceSession(source, sess_options=options, providers=devices)
    except NoKernel:
        # Exact sums convert weights to unsigned integers; convolutions of signed inputs have no kernel for these.
        options.add_session_config_entry(EXACT_INTEGERS, "0")
        return ort.InferenceSession(source, sess_options=options, providers=devices)


def run(session: ort.InferenceSession, x: np.ndarray, outputs: list[str] | None = None) -> list[np.ndarray]:
    """Outputs of a session with one input, for any number of samples.

    Args:
        x: the input (N, ...). For a file with a fixed batch size B, the last sample is repeated up to a
            multiple of B, and the surplus results are dropped.
        outputs: names of the outputs to compute; None computes all.

    Returns:
        An array (N, ...) for each output. The output of a ZipMap becomes (N, K) with sorted keys.
    """
    (declared,) = session.get_inputs()
    step = fixed_batch(session) or len(x)
    surplus = -len(x) % step
    padded = np.concatenate([x, np.repeat(x[-1:], surplus, axis=0)]) if surplus else x
    parts = [session.run(outputs, {declared.name: padded[i : i + step]}) for i in range(0, len(padded), step)]
    return [np.concatenate([_array(part) for part in column])[: len(x)] for column in zip(*parts, strict=True)]


def fixed_batch(session: ort.InferenceSession) -> int | None:
    """The batch size that a file with one input fixes, or None where any will do."""
    (declared,) = session.get_inputs()
    batch = declared.shape[0] if declared.shape else None
    return batch if isinstance(batch, int) and batch > 0 else None


def _array(values: object) -> np.ndarray:
    if isinstance(values, list) and values and isinstance(values[0], dict):
        return np.array([[row[key] for key in sorted(row)] for row in values], dtype=np.float32)
    return values[0] if isinstance(values, list) else np.asarray(values)
