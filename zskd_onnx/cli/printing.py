"""What a person sees: progress on stderr, results on stdout."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import typer

from zskd_onnx.errors import ZskdError
from zskd_onnx.events import Event, Listener

SCHEMA_VERSION = 1
PLAIN_SECONDS = 10.0


class Format(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """One line for whatever goes wrong, and the exit code that belongs to it.

    With ``--format json`` the error is an object on stdout as well. ``ZSKD_TRACEBACK=1`` prints
    the traceback of an unexpected error.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except ZskdError as error:
            kind, message, code = type(error).__name__, str(error), error.exit_code
        except KeyboardInterrupt:
            kind, message, code = (
                "Interrupted",
                "interrupted; compress --resume, or the same sweep again, continues where it stopped",
                130,
            )
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            kind, message, code = "OSError", f"{where}{error.strerror or error}; nothing was kept", 1
        except typer.Exit:
            raise
        except Exception as error:
            if os.environ.get("ZSKD_TRACEBACK"):
                traceback.print_exc()
            text = " ".join(str(error).split())[:300]
            kind = type(error).__name__
            message, code = f"unexpected {kind}: {text}; ZSKD_TRACEBACK=1 shows where, please report it", 1
        else:
            return
        print(f"error: {message}", file=sys.stderr)
        # A missed gate stands in the result, which has been printed.
        if kwargs.get("format") == Format.JSON and kind != "QualityError":
            print_json({"error": {"type": kind, "message": message, "exit_code": code}})
        raise typer.Exit(code)

    return run


def print_json(content: Mapping[str, Any]) -> None:
    """One object on stdout."""
    print(json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2))


def print_table(rows: Mapping[str, str]) -> None:
    """Names and values on stdout, aligned."""
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")


@contextmanager
def progress() -> Iterator[Listener]:
    """A listener that draws bars with the time left on a terminal, and prints plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield _PlainProgress()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}
        ended: dict[str, bool] = {}

        def listen(event: Event) -> None:
            if event.kind == "note":
                bars.console.print(f"{event.stage}: {event.text}", markup=False, highlight=False)
            elif event.total:
                if event.stage not in tasks:
                    tasks[event.stage] = bars.add_task(event.stage, total=event.total, figures="")
                elif ended.pop(event.stage, False):  # the next run of a sweep
                    bars.reset(tasks[event.stage], total=event.total)
                bars.update(tasks[event.stage], completed=event.completed, figures=_words(event.figures))
                ended[event.stage] = event.kind == "done"

        yield listen


class _PlainProgress:
    """A line at every note and every end of a stage, and one in between from time to time."""

    def __init__(self) -> None:
        self.started: dict[str, tuple[float, int]] = {}
        self.last = 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "note":
            self._print(f"{event.stage}: {event.text}")
        elif event.kind == "done":
            self._print(f"{event.stage}: done, {event.text}")
            self.started.pop(event.stage, None)  # a sweep begins it again
        else:
            begin, first = self.started.setdefault(event.stage, (event.time, event.completed))
            if event.time - self.last < PLAIN_SECONDS or event.completed == first:
                return
            self.last = event.time
            left = (event.time - begin) / (event.completed - first) * (event.total - event.completed)
            self._print(
                f"{event.stage}: {event.completed:,} of {event.total:,}, about {duration(left)} left {_words(event.figures)}"
            )

    @staticmethod
    def _print(text: str) -> None:
        print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def _words(figures: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in figures.items())


def duration(seconds: float) -> str:
    """Seconds for people."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def percent(fraction: float) -> str:
    """A fraction for people."""
    return f"{100 * fraction:.2f} %"
