"""Signals that stop a run: SIGTERM as an exception, and their delay until the work is in a consistent state."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM has arrived; it stops a run as Ctrl-C does."""


@contextmanager
def raising_terminated() -> Iterator[None]:
    """Raise Terminated when SIGTERM arrives within the context, which would otherwise end the process at once."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class DeferredInterrupts:
    """Signals that have arrived and wait for their handlers."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._arrived: int | None = None

    @property
    def pending(self) -> bool:
        """Whether a signal has arrived."""
        return self._arrived is not None

    def deliver(self) -> None:
        """Call the handler of the signal that has arrived, if any; it usually raises KeyboardInterrupt."""
        number, self._arrived = self._arrived, None
        if number is not None:
            self._before[number](number, None)

    def start(self) -> None:
        """Record signals from now on. A signal without a handler in Python keeps its effect."""
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self._before = {number: handler for number, handler in self._before.items() if callable(handler)}
        for number in self._before:
            signal.signal(number, self._record)

    def stop(self) -> None:
        """Put the handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _record(self, number: int, frame: Any) -> None:
        self._arrived = number
        self.stop()  # a second signal is handled at once


@contextmanager
def deferred_interrupts() -> Iterator[DeferredInterrupts]:
    """Delay SIGINT and SIGTERM within the context, until ``deliver`` is called or the context ends without an error.

    Only the main thread may handle signals: in other threads nothing is delayed.
    """
    interrupts = DeferredInterrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    interrupts.start()
    try:
        yield interrupts
    finally:
        interrupts.stop()
    interrupts.deliver()
