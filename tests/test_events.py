"""Events, for a file and for a person."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zskd_onnx.cli.printing import duration, percent, progress
from zskd_onnx.events import Event, EventLog, both


def test_a_log_holds_every_note_and_not_every_step(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", interval=2.0)
    for step in range(100):
        log(Event("progress", "synthesis", completed=step, total=100, time=1000 + step / 10))
    log(Event("note", "teacher", "assumed", time=1000.0))
    log(Event("done", "synthesis", figures={"loss": 0.5}, time=1000.1))
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["completed"] for line in lines if line["kind"] == "progress"] == [0, 20, 40, 60, 80]
    assert [line["kind"] for line in lines[-2:]] == ["note", "done"]
    assert lines[-1]["figures"] == {"loss": 0.5}


def test_two_listeners_hear_the_same() -> None:
    first: list[Event] = []
    second: list[Event] = []
    both(first.append, second.append)(Event("note", "teacher"))
    assert first == second
    assert len(first) == 1


def test_progress_goes_to_stderr_with_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as listener:
        listener(Event("note", "teacher", "input 0 to 1", time=1000.0))
        listener(Event("progress", "synthesis", completed=0, total=100, time=1000.0))
        listener(Event("progress", "synthesis", completed=25, total=100, time=1030.0))
        listener(Event("done", "synthesis", "100 samples", 100, 100, time=1120.0))
    out, err = capsys.readouterr()
    assert out == ""
    assert "input 0 to 1" in err
    assert "25 of 100, about 90 s left" in err
    assert "done, 100 samples" in err


def test_a_stage_that_begins_again_is_timed_anew(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as listener:
        for begin, pace in ((1000.0, 1), (2000.0, 2)):
            for step in range(0, 100, 25):
                listener(Event("progress", "synthesis", completed=step, total=100, time=begin + pace * step))
            listener(Event("done", "synthesis", "100 samples", 100, 100, time=begin + pace * 100))
    assert "50 of 100, about 100 s left" in capsys.readouterr().err


def test_words_for_people() -> None:
    assert duration(90) == "90 s"
    assert duration(600) == "10 min"
    assert percent(0.98765) == "98.77 %"
