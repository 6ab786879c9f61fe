"""A function in a Python process of its own, so that a crash of native code ends that process alone."""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Stage = Callable[[str], None]
"""Is called with what a function does next, in words."""


class ProcessCrash(Exception):
    """The process ended without a result.

    Attributes:
        cause: how it ended, such as "SIGSEGV".
        stage: what it did last, in words.
    """

    def __init__(self, cause: str, stage: str) -> None:
        super().__init__(f"the process ended with {cause} while {stage}")
        self.cause = cause
        self.stage = stage


def run_in_child(module: str, function: str, **arguments: Any) -> Any:
    """Call a function of this package in a new Python process, with as many threads of torch as here.

    Its first argument is a ``Stage``, the others are ``arguments``. These, the result, and an exception that it raises
    are pickled. What it prints on stdout is discarded.

    Args:
        module: of the function, such as "zskd_onnx.pipeline.verify".
        function: its name there.

    Raises:
        ProcessCrash: the process ended without a result.
    """
    torch = sys.modules.get("torch")
    threads = None if torch is None else torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        call, result, stage = (Path(folder) / name for name in ("call", "result", "stage"))
        call.write_bytes(pickle.dumps((module, function, arguments, threads)))
        stage.write_text("starting", encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", __name__, str(call), str(result), str(stage)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
        try:
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        if not result.exists():
            raise ProcessCrash(_cause(code), stage.read_text(encoding="utf-8"))
        succeeded, value = pickle.loads(result.read_bytes())
    if not succeeded:
        raise value
    return value


def _cause(code: int) -> str:
    """How a process ended, in words."""
    if code == -9:  # Windows has no signal.SIGKILL
        return "SIGKILL, as the system ends a process when memory runs out"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _serve(call: Path, result: Path, stage: Path) -> None:
    """Run the function that the file ``call`` names, and write its result or exception."""
    module, function, arguments, threads = pickle.loads(call.read_bytes())
    outcome: tuple[bool, Any]
    try:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        called = getattr(importlib.import_module(module), function)
        outcome = True, called(lambda text: stage.write_text(text, encoding="utf-8"), **arguments)
    except Exception as error:
        outcome = False, error
    partial = result.with_suffix(".partial")
    partial.write_bytes(pickle.dumps(outcome))
    partial.rename(result)


if __name__ == "__main__":
    _serve(*map(Path, sys.argv[1:]))
