"""How long onnxruntime takes for one batch on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from zskd_onnx.system.onnx_runtime import open_session

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


def latency_conditions(batch: int) -> str:
    """How a batch is measured, in words."""
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}, batch {batch}"
