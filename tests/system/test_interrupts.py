"""Signals: SIGTERM as an exception, and delayed handling."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from zskd_onnx.system.interrupts import Terminated, deferred_interrupts, raising_terminated


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    """Handlers as in a new process; a background job may have inherited that SIGINT is ignored."""
    before = [
        (number, signal.signal(number, handler))
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL))
    ]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def test_sigterm_is_an_exception_within_the_context() -> None:
    with pytest.raises(Terminated), raising_terminated():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_handler_of_the_user_stays() -> None:
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    with raising_terminated():
        signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_waits_for_its_delivery(number: int, kind: type[BaseException]) -> None:
    steps = []

    def work() -> None:
        with raising_terminated(), deferred_interrupts() as interrupts:
            assert not interrupts.pending
            interrupts.deliver()
            signal.raise_signal(number)
            steps.append("after the signal")
            assert interrupts.pending
            interrupts.deliver()
            steps.append("never")

    with pytest.raises(kind):
        work()
    assert steps == ["after the signal"]


def test_a_signal_is_delivered_at_the_end_of_the_context() -> None:
    steps = []

    def work() -> None:
        with deferred_interrupts():
            signal.raise_signal(signal.SIGINT)
            steps.append("last step")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["last step"]


def test_a_second_signal_is_raised_at_once() -> None:
    steps = []

    def work() -> None:
        with deferred_interrupts():
            signal.raise_signal(signal.SIGINT)
            steps.append("first")
            signal.raise_signal(signal.SIGINT)
            steps.append("second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["first"]


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred_interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert not interrupts.pending
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
