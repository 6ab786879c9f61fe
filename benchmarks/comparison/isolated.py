"""Run a converter in a worker process, which may crash or take too long."""

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
    """A converter in its own process, with the Python of its own environment."""

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
        """The verdict of one test.

        A crash or a timeout counts as refused, and the next test gets a new process.

        Args:
            test: name of a function in ``comparison.tests``.
            argument: its argument.

        Raises:
            RuntimeError: the worker does not start, for example because the converter is not installed.
        """
        process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # the worker has ended; the empty answer below shows it
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
            bufsize=0,  # so that select sees every answer, and no request waits in a buffer
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.process = process
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{' '.join(self.command)}: the worker does not start; check its environment")
        return process

    def stop(self) -> None:
        """Kill the worker, if there is one."""
        if self.process is not None:
            self.process.kill()
            with self.process:  # closes the pipes and waits
                self.process = None
