"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zskd_onnx.cli.results import duration, figures
from zskd_onnx.cli.shared import Output
from zskd_onnx.system.ranks import ranks

if TYPE_CHECKING:
    from zskd_onnx.events import Event, Listener

PLAIN_SECONDS = 10.0
"""Time between two progress lines of a stage."""


@contextmanager
def progress(output: Output) -> Iterator[Listener]:
    """A listener that shows the progress of a run on stderr.

    ``--quiet`` shows nothing, ``--verbose`` a line for every event; otherwise a terminal gets bars
    and a file or a pipe gets a line from time to time.
    """
    if output.quiet or not ranks().leads:
        from zskd_onnx.events import silent

        yield silent
    elif output.verbose or not sys.stderr.isatty():
        yield PlainProgress(0.0 if output.verbose else PLAIN_SECONDS)
    else:
        from zskd_onnx.cli.progress_bars import ProgressBars

        with ProgressBars.on_terminal() as bars:
            yield bars


class PlainProgress:
    """A listener that prints each note, begin and end of each stage, and progress at most every ``interval`` seconds."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._starts: dict[str, tuple[float, int]] = {}
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "note":
            self._print(event, event.text)
        elif event.kind == "done":
            self._print(event, f"done, {event.text}")
            self._starts.pop(event.stage, None)  # a sweep runs the same stage again
        else:
            begins = event.stage not in self._starts
            start, first = self._starts.setdefault(event.stage, (event.time, event.completed))
            if not begins and event.time - self._last < self.interval:
                return
            self._last = event.time
            parts = [f"{event.completed:,} of {event.total:,}"]
            if event.completed > first:
                seconds = (event.time - start) / (event.completed - first) * (event.total - event.completed)
                parts.append(f"about {duration(seconds)} left")
            self._print(event, ", ".join([*parts, *figures(event.figures)]))

    @staticmethod
    def _print(event: Event, text: str) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(event.time))
        print(f"{clock} {event.stage}: {text}", file=sys.stderr, flush=True)
