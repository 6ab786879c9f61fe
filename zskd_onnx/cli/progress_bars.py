"""Progress bars for a terminal, at any width without a cut figure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.progress import Progress, Task, TaskID
from rich.text import Text

from zskd_onnx.cli.help_page import UNBROKEN
from zskd_onnx.cli.results import figures
from zskd_onnx.events import Event

STAGE_WIDTH = 15
COUNT_WIDTH = 15
TIME_WIDTH = 12
BAR_WIDTHS = (8, 24)
"""Narrowest and widest bar, in characters."""

ONE_LINE = 100
"""Terminals narrower than this get the figures of a stage on a second line."""


class ProgressBars:
    """A listener that draws one bar a stage, with notes above them.

    Args:
        console: to draw on.
        clock: seconds; default: the console's.
        auto_refresh: redraw ten times a second from a thread of its own.
    """

    def __init__(
        self, console: Console, clock: Callable[[], float] | None = None, *, auto_refresh: bool = True
    ) -> None:
        # Rich estimates the time left from the last 1,000 events; the runs of a sweep may be hours apart.
        self.display = _Display(
            console=console, get_time=clock, auto_refresh=auto_refresh, speed_estimate_period=float("inf")
        )
        self._tasks: dict[str, TaskID] = {}
        self._ended: set[str] = set()

    @classmethod
    @contextmanager
    def on_terminal(cls) -> Iterator[ProgressBars]:
        """Bars on stderr, until the context ends."""
        bars = cls(Console(stderr=True))
        with bars.display:
            yield bars

    def __call__(self, event: Event) -> None:
        if event.kind == "note":
            self.display.console.print(f"{event.stage}: {event.text}", markup=False, highlight=False)
        elif event.total:
            if event.stage not in self._tasks:
                self._tasks[event.stage] = self.display.add_task(event.stage, total=event.total, figures=[])
            elif event.stage in self._ended:  # a sweep runs the same stage again
                self.display.reset(self._tasks[event.stage], total=event.total, figures=[])
            self._ended.discard(event.stage)
            task = self._tasks[event.stage]
            self.display.update(task, completed=event.completed)
            if event.figures:  # the last event of a stage has none
                self.display.update(task, figures=figures(event.figures))
            if event.kind == "done":
                self._ended.add(event.stage)


class _Display(Progress):
    """Rich's display of tasks, with lines of our own in place of its table."""

    def get_renderable(self) -> Group:
        return Group(*(_Line(task) for task in self.tasks))


class _Line:
    """The bar of a stage, fitted to the width of the console."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from bar_lines(self.task, options.max_width, ascii_only=options.ascii_only)


def bar_lines(task: Task, width: int, *, ascii_only: bool = False) -> list[Text]:
    """Stage, bar, count, time left and figures; the figures take a second line on a narrow terminal."""
    total, completed = int(task.total or 0), int(task.completed)
    count = f"{completed:,}/{total:,}"
    if len(count) > COUNT_WIDTH:
        count = f"{completed}/{total}"
    rest = width - STAGE_WIDTH - max(len(count), COUNT_WIDTH) - TIME_WIDTH - 4
    narrowest, widest = BAR_WIDTHS
    length = max(narrowest, min(widest, rest))
    done = length if not total else round(length * completed / total)
    full, empty = ("#", "-") if ascii_only else ("━", "─")
    line = Text.assemble(
        f"{task.description:<{STAGE_WIDTH}} ",
        (full * done, "bar.complete"),
        (empty * (length - done), "bar.back"),
        f" {count:>{COUNT_WIDTH}} {_time(task):>{TIME_WIDTH}}",
        no_wrap=True,
        overflow="crop",
    )
    values: list[str] = task.fields.get("figures", [])
    text = ", ".join(values)
    if width >= ONE_LINE and len(line) + 2 + len(text) <= width:
        return [line.append(f"  {text}") if text else line]
    words = ", ".join(value.replace(" ", UNBROKEN) for value in values)
    below = textwrap.wrap(words, max(1, width - STAGE_WIDTH - 1))
    return [line, *(Text(f"{'':<{STAGE_WIDTH}} {part.replace(UNBROKEN, ' ')}") for part in below)]


def _time(task: Task) -> str:
    if task.finished:
        return f"{_clock(task.finished_time or 0.0)} done"
    left = task.time_remaining
    return f"{'-:--:--' if left is None else _clock(left)} left"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"
