"""Memory and speed of a training whose transfer set is larger than the memory that it may take.

    OMP_NUM_THREADS=1 python benchmarks/large_set.py             # a million samples 3x32x32: 6.2 GB of disk, some minutes
    OMP_NUM_THREADS=1 python benchmarks/large_set.py --samples 20000 --small 5000 --steps 40 --limit 4e7

Each case trains the same small student for the same number of steps in a process of its own. The process loads the set,
lets the teacher judge its samples, trains, and writes the student, as ``compress`` does. The large set is read from
disk: once while the system keeps its files in memory as it likes, and once while a thread has the system forget them
twice a second, as if there were no memory for them. The small set is in memory. A further case with the small set on
disk must give the same student, byte for byte.

The samples are noise, and the teacher has random weights: only memory and time are measured.

A JSON line a case says

    peak            largest resident memory in MiB (``ru_maxrss``); mapped files of libraries count
    anonymous       largest anonymous memory in MiB (``RssAnon``, read 50 times a second): what the process allocates
    before          the same two before the set is loaded, when the teacher is there
    loading         seconds to open the set: each shard is read once, for its digest
    batch           milliseconds to take a batch of 128 random samples from the set, the median of 200
    steps           steps of training a second, after the first 20
    processor       milliseconds of processor time that such a step takes, which other programs affect less
    read            bytes that the process has read from the disk itself
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from zskd_onnx import prepare
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import Event
from zskd_onnx.pipeline.judge_samples import judge_samples
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.run_folder import STUDENT
from zskd_onnx.pipeline.train_student import train_student
from zskd_onnx.pipeline.write_student import write_student
from zskd_onnx.students.zoo.architecture import STUDENTS
from zskd_onnx.system.rows import Rows

SHAPE, CLASSES, SHARD = (3, 32, 32), 10, 5000
BATCH, FIRST = 128, 20
MB = 1 << 20


def write_teacher(path: Path) -> None:
    """A classifier with random weights."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = STUDENTS["cnn"].build(SHAPE, CLASSES).eval()
        torch.onnx.export(
            module, (torch.zeros(2, *SHAPE),), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}
        )
    model = onnx.load(path)
    model.metadata_props.add(key="zskd.input_range", value="0,1")
    onnx.save(model, path)


def write_set(folder: Path, samples: int) -> Path:
    """A transfer set of noise."""
    rng = torch.Generator().manual_seed(0)
    transfer_set = TransferSet.create(folder, {"made by": "benchmarks/large_set.py"})
    for first in range(0, samples, SHARD):
        count = min(SHARD, samples - first)
        inputs = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=rng)
        targets = torch.rand((count, CLASSES), generator=rng).softmax(1)
        transfer_set.add(transfer_set.count, inputs.half().div_(255), targets)
    return folder


def memory(field: str) -> int:
    """A field of /proc/self/status in MiB."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) // 1024


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Watch:
    """Reads the anonymous memory 50 times a second; makes the system forget a set's files where it is told to."""

    def __init__(self, forget: Path | None) -> None:
        self.anonymous = 0
        self._forget = forget
        self._ended = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._read)]
        if self._forget is not None:
            threads.append(threading.Thread(target=self._drop, args=(sorted(self._forget.glob("*.safetensors")),)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _read(self) -> None:
        while not self._ended.wait(0.02):
            self.anonymous = max(self.anonymous, memory("RssAnon"))

    def _drop(self, paths: list[Path]) -> None:
        files = [path.open("rb") for path in paths]
        while not self._ended.wait(0.5):
            for file in files:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for file in files:
            file.close()


class Pace:
    """The time of training, after the first ``FIRST`` steps."""

    def __init__(self) -> None:
        self._times: dict[int, tuple[float, float]] = {}

    def __call__(self, event: Event) -> None:
        if (event.kind, event.stage) == ("progress", "distillation"):
            self._times[event.completed] = time.perf_counter(), time.process_time()

    def figures(self) -> dict[str, float]:
        last = max(self._times)
        steps = last - FIRST
        seconds, busy = (end - begin for begin, end in zip(self._times[FIRST], self._times[last], strict=True))
        return {"steps": round(steps / seconds, 2), "processor": round(1000 * busy / steps, 1)}


def batch_time(inputs: Rows) -> float:
    """Milliseconds to take a batch of random samples."""
    rng, times = torch.Generator().manual_seed(1), []
    for _ in range(200):
        indices = torch.randint(len(inputs), (BATCH,), generator=rng)
        begin = time.perf_counter()
        inputs[indices]
        times.append(time.perf_counter() - begin)
    return round(1000 * statistics.median(times), 3)


def train(plan: Plan, transfer_set: Path, limit: int, folder: Path, forget: bool, line: dict[str, Any]) -> None:
    """Train a student on a set, and add the figures to a line."""
    watch, pace = Watch(transfer_set if forget else None), Pace()
    line["before"] = [peak(), memory("RssAnon")]
    with watch.watching():
        begin = time.perf_counter()
        samples = TransferSet.open(transfer_set).load(limit=limit)
        line["loading"] = round(time.perf_counter() - begin, 1)
        line |= {"in memory": isinstance(samples.inputs, Tensor), "batch": batch_time(samples.inputs)}
        judge_samples(plan, samples, allow_degenerate=True)
        trained = train_student(plan, samples, folder / "checkpoint.pt", pace)
        write_student(plan, trained, "noise", folder)
    line["sha256"] = hashlib.sha256((folder / STUDENT).read_bytes()).hexdigest()[:16]
    line |= {**pace.figures(), "peak": peak(), "anonymous": watch.anonymous}


def case(name: str, transfer_set: Path, limit: int, steps: int, work: Path, forget: bool) -> dict[str, Any]:
    """The line of one case."""
    folder = work / name.replace(" ", "-")
    folder.mkdir()
    overrides = [
        *(f"distillation.batch_size={BATCH}", "distillation.epochs=1", f"distillation.epoch_samples={steps * BATCH}"),
        *("distillation.mixture={transfer_set: 1}", "distillation.validations=0", "held_out=1000"),
    ]
    plan = prepare(work / "teacher.onnx", recipe="zskd", overrides=overrides, student="cnn-16", device="cpu")
    line: dict[str, Any] = {"case": name, "samples": TransferSet.open(transfer_set).count}
    train(plan, transfer_set, limit, folder, forget, line)
    figures = dict(row.split(": ") for row in Path("/proc/self/io").read_text().splitlines())
    return {**line, "read": int(figures["read_bytes"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=50_000, help="samples of the set in memory")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--limit", type=float, default=2**30, help="bytes of a set that may be read into memory")
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure (default: that of temporary files)")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        write_teacher(work / "teacher.onnx")
        begin = time.perf_counter()
        small, large = write_set(work / "small", options.small), write_set(work / "large", options.samples)
        size = sum(path.stat().st_size for path in large.iterdir())
        print(json.dumps({"bytes": size, "writing": round(time.perf_counter() - begin, 1)}), flush=True)
        limit = int(options.limit)
        students = {}
        for name, transfer_set, most, forget in (
            ("small in memory", small, limit, False),
            ("small on disk", small, 0, False),
            ("large on disk", large, limit, False),
            ("large on a cold disk", large, limit, True),
        ):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                line = pool.submit(case, name, transfer_set, most, options.steps, work, forget).result()
            print(json.dumps(line), flush=True)
            students[name] = line["sha256"]
        for one, other in (("small in memory", "small on disk"), ("large on disk", "large on a cold disk")):
            if students[one] != students[other]:
                raise SystemExit(f"{one} and {other} give different students")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
