"""Time teachers and their thinned versions in onnxruntime, with one thread and with two.

    python benchmarks/thin_latency.py resnet20_cifar10_folded.onnx resnet18.default.onnx [--factor 0.5] [--batch 1]

One JSON line a file and number of threads: milliseconds of teacher and student (median of runs in blocks that alternate between
the two, so that a noisy machine slows both), and their ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from zskd_onnx import load_teacher
from zskd_onnx.students.thinning.thin import random_feeds, teacher_groups, thin
from zskd_onnx.students.thinning.widths import scaled_widths
from zskd_onnx.system.onnx_runtime import open_session

BLOCK, WARM_UP = 12, 4
"""Runs of one model before the other's turn, and how many of them do not count: threads of the other still spin."""

BLOCKS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--factor", type=float, default=0.5)
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    for path in options.files:
        teacher = load_teacher(path, input_range=(0, 1))
        groups = teacher_groups(teacher)
        student = thin(teacher, groups, scaled_widths(groups.groups, options.factor)).model.SerializeToString()
        feeds = dict(random_feeds(teacher, options.batch))
        for threads in (1, 2):
            torch.set_num_threads(threads)
            before, after = alternating(path, student, feeds)
            row = {"file": path.name, "factor": options.factor, "batch": options.batch, "threads": threads}
            row |= {"teacher ms": round(1000 * before, 3), "student ms": round(1000 * after, 3)}
            print(json.dumps(row | {"ratio": round(before / after, 2)}), flush=True)


def alternating(teacher: Path, student: bytes, feeds: dict[str, np.ndarray]) -> tuple[float, float]:
    """Median seconds of a run of each model."""
    sessions = [open_session(model, on_cpu=True) for model in (teacher, student)]
    seconds: list[list[float]] = [[], []]
    for _ in range(BLOCKS):
        for session, times in zip(sessions, seconds, strict=True):
            for number in range(BLOCK):
                begin = time.perf_counter()
                session.run(None, feeds)
                if number >= WARM_UP:
                    times.append(time.perf_counter() - begin)
    before, after = map(statistics.median, seconds)
    return before, after


if __name__ == "__main__":
    main()
