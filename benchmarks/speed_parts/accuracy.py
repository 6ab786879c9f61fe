"""Rows of MNIST: the time from a cold start to an accuracy, and the peak memory, of ``compress`` beside a plain loop.

LeNet-5 is compressed to its half with recipe ``procedural``. Each run is a process of its own, see ``mnist_run``. The recipe's
student starts with the teacher's channels. It has the lower accuracies at once, so their time is that of the start. The rows
of a student with random weights show the speed of training; it has no feature loss.

* The same in both loops: the images that this package draws and moves, the choice of the teacher's channels, the losses
  of soft targets and features, AdamW with the one-cycle schedule, the number of steps, and the validations.
* Different: the plain loop has plain modules in torch's standard layout and torch's default AdamW. ``compress`` also checks the
  file against onnxruntime, infers what its inputs are, judges the samples, and writes a run folder with checkpoints.
* Random draws differ between the loops, so the accuracies differ by chance. ``--runs`` takes several seeds.

The clock stands still during validations, because there are many more than a run needs. So the time leaves out the recipe's own
20 validations on held-out samples, which the plain loop does not have. Times are processor seconds of the process. The
JSON lines also have the seconds of the clock, and the steps at which an accuracy was reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speed_parts.mnist_run import LOOPS, TARGETS
from speed_parts.rows import LeftOutError, Options, Row, child_environment

ENDS = {"plain": ", plain", "package": ""}
"""Loop -> how the names of its figures in the JSON lines end."""

STUDENTS = {"auto": "recipe procedural", "random": "random initialisation"}
"""Initialisation -> how the table names it."""


def pruned_rows(options: Options) -> Iterator[Row]:
    """Rows of the recipe's own student, which starts with the teacher's channels."""
    yield from _rows("auto", options)


def random_rows(options: Options) -> Iterator[Row]:
    """Rows of a student that starts with random weights."""
    yield from _rows("random", options)


def _rows(init: str, options: Options) -> Iterator[Row]:
    """Rows of the time to each accuracy, and of the peak memory."""
    teacher = _teacher(options)
    runs: dict[str, list[list[dict[str, Any]]]] = {loop: [] for loop in LOOPS}
    for seed in range(options.seed, options.seed + options.runs):
        for loop in LOOPS:
            runs[loop].append(_run(loop, init, teacher, seed, options))
    what = "MNIST, LeNet-5 to its half"
    for target in TARGETS:
        reached = {loop: [_first(run, target) for run in runs[loop]] for loop in LOOPS}
        processor, clock = (
            {loop: [entry and entry[key] for entry in reached[loop]] for loop in LOOPS}
            for key in ("processor seconds", "seconds")
        )
        others = {"seconds of the clock, plain": clock["plain"], "seconds of the clock": clock["package"]}
        others |= {f"step{end}": [entry and entry["step"] for entry in reached[loop]] for loop, end in ENDS.items()}
        others |= {f"best accuracy{end}": [_best(run) for run in runs[loop]] for loop, end in ENDS.items()}
        yield Row(
            f"time to {100 * target:g} % from a cold start, {what}",
            STUDENTS[init],
            "processor seconds",
            processor["plain"],
            processor["package"],
            {**others, "epochs": options.epochs, "seed": options.seed},
        )
    peaks = {loop: [run[-1]["peak"] for run in runs[loop]] for loop in LOOPS}
    yield Row(f"peak memory of the training, {what}", STUDENTS[init], "MiB", peaks["plain"], peaks["package"])


def _teacher(options: Options) -> Path:
    """The MNIST teacher, trained once, and the test images beside it."""
    folder = options.kept / "mnist"
    if not ((folder / "teacher-0.onnx").exists() and (folder / "test.npz").exists()):
        if options.data is None:
            raise LeftOutError("set --data or ZSKD_DATA to the folder with mnist.npz")
        from data import NoData
        from papers import teacher_file

        try:
            teacher_file("lenet5", "mnist", folder, options.data, 0)
        except NoData as missing:
            raise LeftOutError(str(missing)) from None
    return folder / "teacher-0.onnx"


def _run(loop: str, init: str, teacher: Path, seed: int, options: Options) -> list[dict[str, Any]]:
    """The JSON lines of one run."""
    command = [sys.executable, "-m", "speed_parts.mnist_run", loop, str(teacher), str(teacher.with_name("test.npz"))]
    command += ["--seed", str(seed), "--epochs", str(options.epochs), "--init", init]
    done = subprocess.run(
        [*command, "--begin", str(time.time())], env=child_environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _first(run: list[dict[str, Any]], target: float) -> dict[str, Any] | None:
    """The first validation of a run with an accuracy, or None."""
    return next((entry for entry in run if entry.get("accuracy", 0.0) >= target), None)


def _best(run: list[dict[str, Any]]) -> float:
    return max(entry["accuracy"] for entry in run if "accuracy" in entry)
