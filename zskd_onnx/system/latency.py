"""How long onnxruntime takes for one batch on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.system.timings import Latency, LatencyComparison

WARM_UP = 5
MIN_RUNS, MAX_RUNS = 11, 201
MAX_SECONDS = 0.5
"""Time after which ``MIN_RUNS`` runs are enough."""


def median_latency(model: str | Path | bytes, feeds: Mapping[str, np.ndarray]) -> float:
    """Median duration of a run on the CPU, in seconds, with as many threads as torch has and onnxruntime's own settings.

    Args:
        model: a path, or the bytes of a serialised model.
        feeds: input -> value.
    """
    session = open_session(model, on_cpu=True, exact_integers=False)
    inputs = dict(feeds)
    for _ in range(WARM_UP):
        session.run(None, inputs)
    seconds: list[float] = []
    while len(seconds) < MIN_RUNS or (len(seconds) < MAX_RUNS and sum(seconds) < MAX_SECONDS):
        begin = time.perf_counter()
        session.run(None, inputs)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def latency_conditions(batch: int, device: str = "CPU") -> str:
    """How a batch is measured, in words."""
    threads = torch.get_num_threads()
    return f"{device}, {threads} thread{'s' * (threads > 1)}, batch {batch}"


def compare_latencies(
    teacher: ort.InferenceSession, student: ort.InferenceSession, feeds: Mapping[str, np.ndarray], batch: int
) -> LatencyComparison:
    """Measure two sessions in turns, so that what else the machine does meets both.

    Args:
        teacher, student: opened with ``exact_integers=False``, as onnxruntime does by itself.
        feeds: input -> value, the same for both.
        batch: number of samples in the feeds.
    """
    sessions, inputs = (teacher, student), dict(feeds)
    seconds: tuple[list[float], list[float]] = ([], [])
    for session in sessions:
        for _ in range(WARM_UP):
            session.run(None, inputs)
    while len(seconds[0]) < MIN_RUNS or (len(seconds[0]) < MAX_RUNS and sum(map(sum, seconds)) < 2 * MAX_SECONDS):
        for session, durations in zip(sessions, seconds, strict=True):
            begin = time.perf_counter()
            session.run(None, inputs)
            durations.append(time.perf_counter() - begin)
    device = "CUDA" if student.get_providers()[0] == "CUDAExecutionProvider" else "CPU"
    of_teacher, of_student = (
        Latency(statistics.median(durations), float(np.percentile(durations, 95))) for durations in seconds
    )
    return LatencyComparison(of_teacher, of_student, latency_conditions(batch, device))
