"""Run the command line, or a function, in its own process with a memory limit and a time limit.

The process is forked from one that has already imported everything, because importing torch
would take most of the time of a few hundred cases.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import runpy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ADDRESS_SPACE = 8 << 30
"""Limit in bytes, besides what the libraries map. It protects the machine; tests check ``Outcome.grown``."""

PRELOAD = [
    "tests.importer.bounded",
    "tests.importer.test_fuzz",  # if each of its processes imported it, that would take longer than the case
    "zskd_onnx.cli.app",
    "zskd_onnx.pipeline.inspect",
    "torch._dynamo",
]


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        code: exit code; negative for a signal, None if it ran out of time.
        stdout, stderr: what it printed.
        grown: peak memory in bytes, less what the process had at its start.
        seconds: processor time.
    """

    code: int | None
    stdout: str
    stderr: str
    grown: int
    seconds: float


def command_line(*arguments: str | Path, folder: Path, limit: float = 200) -> Outcome:
    """Run ``python -m zskd_onnx`` with arguments in a folder, for at most ``limit`` seconds."""
    return in_process(_command_line, *map(str, arguments), folder=folder, limit=limit)


def _command_line(*arguments: str) -> None:
    sys.argv = ["zskd-onnx", *arguments]
    runpy.run_module("zskd_onnx", run_name="__main__")


def in_process(function: Callable[..., None], *arguments: object, folder: Path, limit: float) -> Outcome:
    """Call a module-level function in its own process.

    Args:
        function: the function.
        arguments: its arguments.
        folder: working directory of the process; its output is stored beside the folder.
        limit: seconds until the process is killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    files = [folder.with_name(f"{folder.name}.{suffix}") for suffix in ("stdout", "stderr", "used")]
    for file in files:
        file.unlink(missing_ok=True)
    process = context.Process(target=_run, args=(function, arguments, folder, files))
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return Outcome(None, "", f"killed after {limit} s", 0, limit)
    stdout, stderr, used = (path.read_text(errors="replace") if path.exists() else "" for path in files)
    grown, seconds = json.loads(used or "[0, 0]")
    return Outcome(process.exitcode, stdout, stderr, grown, seconds)


def _run(function: Callable[..., None], arguments: tuple[object, ...], folder: Path, files: list[Path]) -> None:
    import torch

    torch.set_num_threads(1)
    os.chdir(folder)
    mapped, resident = _memory("VmSize"), _memory("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESS_SPACE,) * 2)
    for stream, path in zip((sys.stdout, sys.stderr), files[:2], strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    begin = time.process_time()
    try:
        function(*arguments)
    finally:
        files[2].write_text(json.dumps([_memory("VmHWM") - resident, time.process_time() - begin]))


def _memory(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field))
