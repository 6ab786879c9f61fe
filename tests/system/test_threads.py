"""The map on worker threads."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from zskd_onnx.system import threads
from zskd_onnx.system.threads import Steps, map_in_order


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order(workers: int) -> None:
    def slower_first(item: int) -> int:
        time.sleep(0.01 * (5 - item))
        return item * item

    assert list(map_in_order(slower_first, range(5), workers)) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_of_the_function_reaches_the_caller(workers: int) -> None:
    with pytest.raises(TimeoutError, match="a"):
        list(map_in_order(lambda _: (_ for _ in ()).throw(TimeoutError("a")), range(3), workers, steps=Steps(print)))


def test_functions_that_run_end_at_their_next_step() -> None:
    """Each would take a thousand seconds."""
    steps = Steps(lambda: None)
    started = threading.Barrier(3)

    def work(item: int) -> int:
        if item == 0:
            return 0
        steps()
        started.wait(10)
        for _ in range(100_000):
            steps()
            time.sleep(0.01)
        return item

    begin = time.monotonic()
    with closing(map_in_order(work, range(9), 2, steps=steps)) as results:
        assert next(results) == 0
        started.wait(10)
    assert time.monotonic() - begin < 10
    assert 0 < steps.count < 100_000


def test_steps_are_reported_while_the_caller_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "REPORT_SECONDS", 0.01)
    reports: list[tuple[int, threading.Thread]] = []
    steps = Steps(lambda: reports.append((steps.count, threading.current_thread())))

    def work(item: int) -> int:
        for _ in range(10):
            steps()
            time.sleep(0.02)
        return item

    assert list(map_in_order(work, [7], 1, steps=steps)) == [7]
    counts = [count for count, _ in reports]
    assert counts == sorted(counts)
    assert any(0 < count < 10 for count in counts)
    assert {thread for _, thread in reports} == {threading.current_thread()}
