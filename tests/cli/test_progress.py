"""Progress of a run, drawn from fixed events with a fake clock."""

from __future__ import annotations

import io
import sys
import time

import pytest
from rich.console import Console

from tests.cli.conftest import WIDTHS, Snapshot, assert_whole
from zskd_onnx.cli.progress import PlainProgress, progress
from zskd_onnx.cli.progress_bars import ProgressBars
from zskd_onnx.cli.shared import Output
from zskd_onnx.events import Event, silent

START = 1_700_000_000.0

NOTE = (
    "input 'image': NCHW (1, 8, 8), values 0 to 16 (range: file metadata; layout: file metadata), and more words than "
    "a narrow terminal has room for"
)


def stage(name: str, begin: float, seconds: float, total: int, **figures: float) -> list[Event]:
    """Four events of a stage that runs evenly."""
    return [
        Event("progress", name, "", total * part // 4, total, dict(figures), START + begin + seconds * part / 4)
        for part in range(1, 5)
    ]


FIGURES = {"loss": 0.0123456, "held_out_loss": 0.0234567, "agreement": 0.98765, "accuracy": 0.971234}

EVENTS = [
    Event("note", "teacher", NOTE, time=START),
    Event("progress", "synthesis", "", 0, 49_000, time=START),
    *stage("synthesis", 0, 600, 49_000),
    Event("done", "synthesis", "49,000 samples", 49_000, 49_000, time=START + 600),
    *stage("distillation", 600, 7200, 281_250, **FIGURES),
    Event("done", "distillation", "281,250 steps", 281_250, 281_250, time=START + 7800),
    Event("note", "fine-tuning", "attention transfer is left out", time=START + 7800),
    *stage("fine-tuning", 7800, 100, 1_000_000, loss=1.5e-7),
    Event("done", "fine-tuning", "1,000,000 steps", 1_000_000, 1_000_000, time=START + 7900),
    *stage("belief matching", 7900, 60, 1_800),
    Event("done", "belief matching", "200 samples, 1,800 walks", 1_800, 1_800, time=START + 7960),
    Event("done", "deployment", "out/student.onnx", figures={"agreement": 0.98}, time=START + 7960),
]


class Screen:
    """Bars on a terminal of a width, and the clock that they see."""

    def __init__(self, width: int, *, encoding: str = "utf-8") -> None:
        self.now = START
        self.file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n", write_through=True)
        self.console = Console(
            file=self.file, width=width, force_terminal=True, color_system=None, legacy_windows=False
        )
        self.bars = ProgressBars(self.console, lambda: self.now, auto_refresh=False)

    def show(self, event: Event) -> str:
        """What an event adds: the lines of a note, and all bars as they are then."""
        self.now = event.time
        buffer = self.file.buffer
        buffer.seek(0)
        buffer.truncate()
        self.bars(event)
        self.console.print(self.bars.display.get_renderable())
        return buffer.getvalue().decode(self.file.encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_are_whole(snapshot: Snapshot, width: int) -> None:
    screen = Screen(width)
    frames = [screen.show(event) for event in EVENTS]
    text = "\n".join(frames)
    assert_whole(text, width)
    snapshot(f"progress-bars-{width}", text)


@pytest.mark.parametrize("width", WIDTHS)
def test_time_left_and_count_keep_their_columns(width: int) -> None:
    """A person finds the time left where it was."""
    screen = Screen(width)
    columns = set()
    for event in EVENTS:
        for line in screen.show(event).splitlines():
            if "━" in line or "─" in line:
                stage, count, time_left = line[:15], line.split()[-3], " ".join(line.split()[-2:])
                if width < 100 or not line.rstrip()[-1].isdigit():
                    assert stage.strip() in ("synthesis", "distillation", "fine-tuning", "belief matching")
                    assert count.count("/") == 1
                    assert time_left.endswith((" left", " done"))
                columns.add(max(line.find(" left"), line.find(" done")))
    assert len(columns) == 1


def test_the_time_left_is_estimated() -> None:
    screen = Screen(80)
    frames = [screen.show(event) for event in EVENTS]
    assert "1:00:00 left" in frames[8]
    assert "0:30:01 left" in frames[9]
    assert "-:--:-- left" in frames[1]


def test_a_sweep_runs_a_stage_again() -> None:
    screen = Screen(80)
    for event in (*EVENTS[1:7], *EVENTS[1:2]):
        text = screen.show(event)
    assert "0/49,000" in text
    assert text.count("synthesis") == 1


def test_a_terminal_without_box_characters() -> None:
    screen = Screen(80, encoding="ascii")
    text = "".join(screen.show(event) for event in EVENTS[1:4])
    assert "#" in text
    text.encode("ascii")


def plain(events: list[Event], interval: float, capsys: pytest.CaptureFixture[str]) -> str:
    listener = PlainProgress(interval)
    for event in events:
        listener(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "localtime", time.gmtime)


def test_plain_lines(snapshot: Snapshot, capsys: pytest.CaptureFixture[str], utc: None) -> None:
    text = plain(EVENTS, 10.0, capsys)
    assert "…" not in text
    snapshot("progress-plain", text)


def test_verbose_lines(snapshot: Snapshot, capsys: pytest.CaptureFixture[str], utc: None) -> None:
    text = plain(EVENTS, 0.0, capsys)
    assert text.count("\n") == len(EVENTS)
    snapshot("progress-verbose", text)


def test_a_stage_that_begins_again_is_timed_anew(capsys: pytest.CaptureFixture[str]) -> None:
    events = []
    for begin, pace in ((1000.0, 1), (2000.0, 2)):
        for step in range(0, 100, 25):
            events.append(Event("progress", "synthesis", "", step, 100, time=begin + pace * step))
        events.append(Event("done", "synthesis", "100 samples", 100, 100, time=begin + pace * 100))
    text = plain(events, 10.0, capsys)
    assert "50 of 100, about 50 s left" in text
    assert "50 of 100, about 100 s left" in text


def test_plain_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    events = [Event("progress", "distillation", "", step, 1000, time=START + step * 0.1) for step in range(1, 1000)]
    assert 8 <= plain(events, 10.0, capsys).count("\n") <= 10


@pytest.mark.parametrize("terminal", [True, False])
def test_which_progress(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with progress(Output(quiet=True)) as listener:
        assert listener is silent
    with progress(Output(verbose=True)) as listener:
        assert isinstance(listener, PlainProgress)
    with progress(Output()) as listener:
        assert isinstance(listener, ProgressBars if terminal else PlainProgress)
