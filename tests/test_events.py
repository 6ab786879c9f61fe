"""Progress events: the log file, and listeners."""

from __future__ import annotations

import json
from pathlib import Path

from zskd_onnx.events import Event, EventLog, both


def test_log_has_every_note_and_progress_at_intervals(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", interval=2.0)
    for step in range(100):
        log(Event("progress", "synthesis", completed=step, total=100, time=1000 + step / 10))
    log(Event("note", "teacher", "assumed", time=1000.0))
    log(Event("done", "synthesis", figures={"loss": 0.5}, time=1000.1))
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["completed"] for line in lines if line["kind"] == "progress"] == [0, 20, 40, 60, 80]
    assert [line["kind"] for line in lines[-2:]] == ["note", "done"]
    assert lines[-1]["figures"] == {"loss": 0.5}


def test_both_listeners_get_each_event() -> None:
    first: list[Event] = []
    second: list[Event] = []
    both(first.append, second.append)(Event("note", "teacher"))
    assert first == second
    assert len(first) == 1
