"""Asking a worker, and doing without its answer when it crashes or takes too long."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
from pathlib import Path
from types import TracebackType

from comparison.verdict import Verdict

BENCHMARKS = Path(__file__).parents[1]


class Isolated:
    """A converter in a process of its own, in the environment of its own Python."""

    def __init__(self, name: str, python: str, timeout: float) -> None:
        self.command = [python, "-m", "comparison.worker", name]
        self.timeout = timeout
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Isolated:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def ask(self, test: str, argument: str) -> Verdict:
        """One test's verdict; no answer counts as refused, and the next test gets a new process.

        Raises:
            RuntimeError: the converter does not import, which is no verdict on it.
        """
        process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended; the empty answer below says so
            process.stdin.write(json.dumps({"test": test, "argument": argument}).encode() + b"\n")
        answered, _, _ = select.select([process.stdout], [], [], self.timeout)
        line = process.stdout.readline() if answered else None
        if line:
            return Verdict(**json.loads(line))
        self.stop()
        if line is None:
            return Verdict("refused", f"no answer in {self.timeout:.0f} s")
        return Verdict("refused", f"the process ended with {process.returncode}")

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])
        process = subprocess.Popen(
            self.command,
            bufsize=0,  # nothing is left over for a process that has ended, or hidden from select
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.process = process
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{' '.join(self.command)}: it does not start; check its environment")
        return process

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            with self.process:  # closes the pipes and waits
                self.process = None
