"""Progress events of a run, for a terminal, a file or a pipeline."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Event:
    """One progress event.

    Attributes:
        kind: "note" (a text), "progress" (a stage advanced) or "done" (a stage ended).
        stage: "teacher", "plan", "transfer set", "synthesis", "pruning", "distillation", "fine-tuning", "quantisation",
            "deployment", "belief matching", "sweep" or "tracking".
        text: a message for people.
        completed, total: units of work of the stage; 0 for notes.
        figures: measured values.
        time: seconds since 1970, UTC.
    """

    kind: str
    stage: str
    text: str = ""
    completed: int = 0
    total: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)


Listener = Callable[[Event], None]
"""A function that is called with every event of a run. It may raise ``Cancelled`` to stop the run."""


OnProgress = Callable[[float], None]
"""A function that is called with the share of some work that is done, from 0 to 1."""


def ignore_progress(share: float) -> None:
    """An ``OnProgress`` that does nothing."""


def silent(event: Event) -> None:
    """A listener that ignores every event."""


class EventLog:
    """Appends events to a JSON Lines file; progress at most every ``interval`` seconds."""

    def __init__(self, path: Path, interval: float = 2.0) -> None:
        self.path = path
        self.interval = interval
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "progress":
            if event.time - self._last < self.interval:
                return
            self._last = event.time
        _append(self.path, json.dumps(asdict(event)) + "\n")


class MetricsLog:
    """Appends the figures of training to a CSV file, a row for each event that has some."""

    COLUMNS = ("time", "stage", "step", "loss", "held_out_loss", "agreement")

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, event: Event) -> None:
        if event.kind != "progress" or not event.figures:
            return
        row = {"time": round(event.time, 3), "stage": event.stage, "step": event.completed, **event.figures}
        header = "" if self.path.exists() else ",".join(self.COLUMNS) + "\n"
        _append(self.path, header + ",".join(str(row.get(column, "")) for column in self.COLUMNS) + "\n")


def _append(path: Path, text: str) -> None:
    """Add to a text file all or nothing."""
    before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:  # a full disk: no half line stays
        if path.exists():
            os.truncate(path, before)
        raise OSError(error.errno, error.strerror, str(path)) from error


def both(first: Listener, second: Listener) -> Listener:
    """A listener that calls two others."""

    def listen(event: Event) -> None:
        first(event)
        second(event)

    return listen
