"""What happens during a run, as a stream that a terminal, a file or a pipeline can follow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: "note" (a text), "progress" (a stage moved on) or "done" (a stage ended).
        stage: "teacher", "synthesis", "distillation", "fine-tuning", "deployment", "belief matching" or
            "sweep".
        text: for people.
        completed, total: units of work of the stage; 0 where they do not apply.
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


def silent(event: Event) -> None:
    """The listener that hears nothing."""


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
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event)) + "\n")


def both(first: Listener, second: Listener) -> Listener:
    """A listener that tells two others."""

    def listen(event: Event) -> None:
        first(event)
        second(event)

    return listen
