"""Progress bars in a notebook."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from zskd_onnx.errors import MissingExtraError
from zskd_onnx.events import Event

SECONDS = 0.25
"""Time between two drawings."""

STYLE = "font: 13px/1.6 sans-serif; margin: 0"


class NotebookProgress:
    """A listener that shows a bar for each stage, and the latest note, below the cell that runs.

    compress("teacher.onnx", "out", listener=NotebookProgress())
    """

    def __init__(self) -> None:
        """
        Raises:
            MissingExtraError: IPython is not installed.
        """
        try:
            from IPython import display
        except ImportError as error:
            raise MissingExtraError("NotebookProgress needs IPython, which every notebook has; use it there") from error
        self._display = display
        self._handle: Any = None
        self._stages: dict[str, Event] = {}
        self._starts: dict[str, tuple[float, int]] = {}
        self._note = ""
        self._drawn = 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "note":
            self._note = f"{event.stage}: {event.text}"
        elif event.total or event.stage in self._stages:
            self._starts.setdefault(event.stage, (event.time, event.completed))
            self._stages[event.stage] = event
        if event.kind != "progress" or event.time - self._drawn >= SECONDS:
            self._drawn = time.time()
            self._draw()

    def _draw(self) -> None:
        content = self._display.HTML(self._html())
        if self._handle is None:
            self._handle = self._display.display(content, display_id=True)
        else:
            self._handle.update(content)

    def _html(self) -> str:
        lines = [self._bar(stage, event) for stage, event in self._stages.items()]
        return "".join(f'<p style="{STYLE}">{line}</p>' for line in [*lines, escape(self._note)])

    def _bar(self, stage: str, event: Event) -> str:
        """One stage: its bar, its units, the time that is left, its figures."""
        completed = event.total if event.kind == "done" else event.completed
        parts = [f"{completed:,} of {event.total:,}"]
        start, first = self._starts[stage]
        if first < completed < event.total:
            seconds = (event.time - start) / (completed - first) * (event.total - completed)
            parts.append(f"about {seconds:.0f} s left")
        parts += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in event.figures.items()]
        bar = f'<progress value="{completed}" max="{event.total}"></progress>'
        return f"{bar} {escape(stage)}: {escape(', '.join(parts))}"
