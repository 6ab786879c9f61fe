"""Runs that are ended at random moments, and what resuming them gives.

    python benchmarks/interruptions.py                  # seven kinds, ten moments each, about 70 runs
    python benchmarks/interruptions.py --jobs 2         # two at a time
    python benchmarks/interruptions.py --kinds kill disk --moments 3

Every run compresses the bundled classifier of digits with a short recipe. It is ended by ``kill -9``, SIGTERM, SIGINT, a
full disk, an exception of a listener, or meets a second process that wants its folder. As "rank" it has two processes, and
torchrun ends both after one was killed. The run is then resumed with the same command and ``--resume``. Every second run replaces the student of an earlier run with ``--overwrite``.

One JSON line a case says: how the run ended, its last message, and

    begun      whether the run had begun to work; before that, an earlier run in the folder is untouched and is resumed
    kept       no complete shard is gone or damaged, and no earlier student is, before the next one is complete
    identical  the resumed student equals that of an undisturbed run, byte for byte
    clean      no temporary file and no lock is left

The disk is a tmpfs of a random size, which needs root; otherwise a limit of the size of files takes its place, as "disk"
in the line says. The script exits with 1 if a case fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

KINDS = ("kill", "rank", "sigterm", "sigint", "disk", "listener", "second")

SETTINGS = (
    *("synthesis.count=2400", "synthesis.batch_size=20", "synthesis.iterations=60", "held_out=200"),
    *("distillation.epochs=40", "distillation.batch_size=50"),
)
"""Seven shards and 1,920 steps: a few seconds of synthesis, a few of training."""

SIGNALS = {"kill": signal.SIGKILL, "sigterm": signal.SIGTERM, "sigint": signal.SIGINT}
EXIT_CODES = {"kill": -9, "sigterm": 143, "sigint": 130, "disk": 1, "listener": 1, "second": 0, "rank": 1}
PAGE = 4096

LISTENER = """
import json, sys
from zskd_onnx import compress
teacher, folder, moment, options = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
calls = 0
def listen(event):
    global calls
    calls += 1
    if calls == moment:
        raise RuntimeError(f"event {moment}")
compress(teacher, folder, listener=listen, **options)
print(calls)
"""
"""Program that compresses with a listener which raises at its n-th event, and prints the number of events."""


@dataclass(frozen=True)
class Bench:
    """What all cases share.

    Attributes:
        work: folder for the runs.
        teacher: path of the bundled teacher.
        earlier: output folder of a finished run with another seed.
        expected: SHA-256 of the undisturbed student.
        expected_of_two: SHA-256 of the undisturbed student of two processes, which is rounded otherwise.
        seconds: duration of the undisturbed run, from its first file on.
        size: bytes of its output folder.
        events: number of its events.
    """

    work: Path
    teacher: Path
    earlier: Path
    expected: str
    expected_of_two: str
    seconds: float
    size: int
    events: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--moments", type=int, default=10, help="runs of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--work", type=Path, help="folder for the runs (default: a temporary one)")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children of a background job would ignore it
    with (
        tempfile.TemporaryDirectory(dir=options.work) as work,
        resources.as_file(resources.files("zskd_onnx.assets") / "digits_teacher.onnx") as teacher,
    ):
        bench = undisturbed(Path(work), teacher)
        print(
            json.dumps({"kind": "undisturbed", "seconds": round(bench.seconds, 1), "events": bench.events}), flush=True
        )
        draws = random.Random(options.seed)
        cases = [(kind, number, draws.random()) for number in range(options.moments) for kind in options.kinds]
        with ThreadPoolExecutor(options.jobs) as pool:
            rows = []
            for row in pool.map(lambda case: run_case(bench, *case), cases):
                print(json.dumps(row), flush=True)
                rows.append(row)
    failed = sum(not row["passed"] for row in rows)
    print(json.dumps({"kind": "all", "runs": len(rows), "failed": failed}))
    sys.exit(1 if failed else 0)


def undisturbed(work: Path, teacher: Path) -> Bench:
    """Measure a run that nothing disturbs, and make an earlier one to be replaced."""
    earlier, folder, of_two = work / "earlier", work / "undisturbed", work / "of-two"
    run(command(teacher, earlier, "--seed", "1"))
    run(command(teacher, of_two, ranks=2))
    process = start(command(teacher, folder))
    wait_for_start(process, folder, None)
    begin = time.monotonic()
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"the undisturbed run failed: {errors}")
    seconds = time.monotonic() - begin
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    counted = run(listener_command(teacher, work / "counted", 0, {}))
    one, two = (digest(each / "student.onnx") for each in (folder, of_two))
    return Bench(work, teacher, earlier, one, two, seconds, size, int(counted.stdout))


def run_case(bench: Bench, kind: str, number: int, share: float) -> dict[str, Any]:
    """End one run at a share of its duration, resume it, and compare."""
    folder = bench.work / f"{kind}-{number}" / "out"
    folder.parent.mkdir()
    ranks = 2 if kind == "rank" else 1
    undisturbed = bench.expected if ranks == 1 else bench.expected_of_two
    overwrite = number % 2 == 1
    with disk(folder.parent, kind, bench, share) as (place, preexec):
        if overwrite:  # a small disk has no room for the earlier transfer set
            leave_out = shutil.ignore_patterns("transfer-set") if kind == "disk" else None
            shutil.copytree(bench.earlier, folder, ignore=leave_out)
        before = run_name(folder)
        ended = disturbed(bench, kind, folder, share, overwrite=overwrite, preexec=preexec)
        state, begun = complete(folder), run_name(folder) != before
        expected = undisturbed if begun else digest(bench.earlier / "student.onnx")
        kept = not overwrite or {"student.onnx", "manifest.json"} <= state.keys()
        if overwrite and state.get("student.onnx") != undisturbed:
            kept = kept and state["student.onnx"] == digest(bench.earlier / "student.onnx")
        if place == "tmpfs":
            subprocess.run(["mount", "-o", "remount,size=256m", str(folder.parent)], check=True)
        resumed = run(command(bench.teacher, folder, "--resume", ranks=ranks), check=False)
        after = complete(folder)
        kept = (
            kept
            and "damaged" not in state
            and all(after.get(name) == value for name, value in state.items() if name.startswith("shard"))
        )
        identical = after.get("student.onnx") == expected
        clean = not [path for ending in ("*.partial", ".*.lock") for path in folder.rglob(ending)]
    shutil.rmtree(folder.parent, ignore_errors=True)
    row = {
        "kind": kind,
        "case": number,
        "overwrite": overwrite,
        "begun": begun,
        "moment": round(share, 3),
        **({"disk": place} if place else {}),
        **ended,
        "kept_shards": sum(name.startswith("shard") for name in state),
        "resumed_exit": resumed.returncode,
        "kept": kept,
        "identical": identical,
        "clean": clean,
    }
    silent = "Traceback" not in ended["message"] and ended["exit"] in (EXIT_CODES[kind], 0)
    passed = silent and ended.get("refused", True) and kept and identical and clean and resumed.returncode == 0
    return {**row, **({} if passed else {"stderr": resumed.stderr[-500:]}), "passed": passed}


def disturbed(bench: Bench, kind: str, folder: Path, share: float, *, overwrite: bool, preexec: Any) -> dict[str, Any]:
    """Start a run and disturb it; its exit code and its last message. An exit code of 0 came before the moment."""
    how = ["--overwrite"] if overwrite else []
    if kind == "listener":
        moment = 1 + int(share * bench.events)
        done = run(listener_command(bench.teacher, folder, moment, {"overwrite": overwrite}), check=False)
        lines = done.stderr.splitlines()
        message = next((line for line in lines if line.startswith("RuntimeError")), "")
        return {"exit": done.returncode, "event": moment, "message": " ".join([message, *lines[-1:]])}
    before = run_name(folder)
    process = start(command(bench.teacher, folder, *how, ranks=2 if kind == "rank" else 1), preexec)
    if kind == "disk":
        _, errors = process.communicate()
        return {"exit": process.returncode, "message": last_line(errors)}
    wait_for_start(process, folder, before)
    time.sleep(share * 0.95 * bench.seconds)
    if kind == "second":
        refused = process.poll() is not None
        for option in () if refused else ("--resume", "--overwrite"):
            second = run(command(bench.teacher, folder, option), check=False)
            refused = (second.returncode == 2 and "another run" in second.stderr) or process.poll() is not None
        _, errors = process.communicate()
        return {"exit": process.returncode, "refused": refused, "message": last_line(errors)}
    if kind == "rank":
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout
        for worker in random.Random(share).sample(found.split(), min(1, len(found.split()))):
            os.kill(int(worker), signal.SIGKILL)
    else:
        process.send_signal(SIGNALS[kind])
    _, errors = process.communicate()
    return {"exit": process.returncode, "message": last_line(errors)}


@contextmanager
def disk(folder: Path, kind: str, bench: Bench, share: float) -> Iterator[tuple[str, Any]]:
    """A small disk for a folder, if the kind needs one: its name, and what the child process does first."""
    if kind != "disk":
        yield "", None
        return
    size = PAGE * (4 + int(share * bench.size / PAGE))
    if os.geteuid():
        largest = 8_000 + int(share * 120_000)
        yield "limit of file sizes", partial(resource.setrlimit, resource.RLIMIT_FSIZE, (largest, largest))
        return
    earlier = sum(-(-path.stat().st_size // PAGE) * PAGE for path in bench.earlier.iterdir() if path.is_file())
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size + earlier}", "tmpfs", str(folder)], check=True)
    try:
        yield "tmpfs", None
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def command(teacher: Path, folder: Path, *options: str, ranks: int = 1) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    words = ["compress", str(teacher), "--output", str(folder), "--quiet", *settings, *options]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return [sys.executable, *(torchrun if ranks > 1 else []), "-m", "zskd_onnx", *words]


def listener_command(teacher: Path, folder: Path, moment: int, options: dict[str, Any]) -> list[str]:
    arguments = {"overrides": SETTINGS, **options}
    return [sys.executable, "-c", LISTENER, str(teacher), str(folder), str(moment), json.dumps(arguments)]


def start(words: list[str], preexec: Any = None) -> subprocess.Popen[str]:
    """A process of one thread, so that all students are comparable."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=preexec
    )


def run(words: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    process = start(words)
    output, errors = process.communicate()
    if check and process.returncode:
        raise SystemExit(f"{shlex.join(words)} failed: {errors}")
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def wait_for_start(process: subprocess.Popen[str], folder: Path, before: str | None) -> None:
    """Wait until a run has recorded its settings; ``before`` is the name of the run that it replaces."""
    while run_name(folder) == before and process.poll() is None:
        time.sleep(0.01)


def run_name(folder: Path) -> str | None:
    """The name of the run that a folder belongs to."""
    try:
        return str(json.loads((folder / "run.json").read_text())["run"])
    except FileNotFoundError:
        return None


def complete(folder: Path) -> dict[str, str]:
    """SHA-256 of what is complete in a run folder: listed shards, student, manifest; "damaged" names a faulty shard."""
    state = {name: digest(folder / name) for name in ("student.onnx", "manifest.json") if (folder / name).is_file()}
    index = folder / "transfer-set" / "index.json"
    if index.is_file():
        for shard in json.loads(index.read_text())["shards"]:
            state[shard["file"]] = digest(index.parent / shard["file"])
            if state[shard["file"]] != shard["sha256"]:
                state["damaged"] = shard["file"]
    return state


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def last_line(text: str) -> str:
    return text.splitlines()[-1] if text else ""


if __name__ == "__main__":
    main()
