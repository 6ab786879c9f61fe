"""Functions in a process of their own."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
import torch

from zskd_onnx.errors import UsageError
from zskd_onnx.system.child_process import ProcessCrash, Stage, run_in_child


def add(stage: Stage, first: int, second: int) -> tuple[int, int, int]:
    print("this is no result")
    return first + second, os.getpid(), torch.get_num_threads()


def fail(stage: Stage) -> None:
    raise UsageError("the cause")


def die(stage: Stage, number: int) -> None:
    stage("counting")
    os.kill(os.getpid(), number)
    time.sleep(60)


def leave(stage: Stage) -> None:
    os._exit(9)


def test_results(capfd: pytest.CaptureFixture[str]) -> None:
    total, process, threads = run_in_child(__name__, "add", first=2, second=3)
    assert total == 5
    assert process != os.getpid()
    assert threads == torch.get_num_threads()
    assert capfd.readouterr().out == ""


def test_errors_are_raised_here() -> None:
    with pytest.raises(UsageError, match="the cause"):
        run_in_child(__name__, "fail")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals of this kind")
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_names_signal_and_stage(number: signal.Signals) -> None:
    with pytest.raises(ProcessCrash, match="while counting") as caught:
        run_in_child(__name__, "die", number=number)
    assert caught.value.cause.startswith(number.name)


def test_an_end_without_a_result_is_a_crash() -> None:
    with pytest.raises(ProcessCrash, match="exit code 9 while starting"):
        run_in_child(__name__, "leave")
