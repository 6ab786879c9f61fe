"""Progress events: the log file, and listeners."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.conftest import SMALL, file_size_limit
from zskd_onnx import compress
from zskd_onnx.events import Event, EventLog, MetricsLog, both


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


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log(Event("note", "teacher", "short"))
    before = path.read_text()
    with file_size_limit(len(before) + 50), pytest.raises(OSError, match=r"events\.jsonl"):
        log(Event("note", "teacher", "long" * 100))
    assert path.read_text() == before


def test_metrics_are_rows_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = MetricsLog(path)
    log(Event("note", "teacher", "no figures"))
    log(Event("progress", "distillation", completed=20, total=40, figures={"loss": 0.5}, time=1000.0))
    figures = {"loss": 0.25, "held_out_loss": 0.3, "agreement": 0.9}
    MetricsLog(path)(Event("progress", "distillation", completed=40, total=40, figures=figures, time=1001.5))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["20", "40"]
    assert rows[0] == {
        "time": "1000.0",
        "stage": "distillation",
        "step": "20",
        "loss": "0.5",
        "held_out_loss": "",
        "agreement": "",
    }
    assert float(rows[1]["agreement"]) == 0.9


def test_both_listeners_get_each_event() -> None:
    first: list[Event] = []
    second: list[Event] = []
    both(first.append, second.append)(Event("note", "teacher"))
    assert first == second
    assert len(first) == 1


def test_a_run_says_at_once_what_it_does(digits_file: Path, tmp_path: Path) -> None:
    """Each stage begins with an event, because its first step may take long."""
    events: list[Event] = []
    compress(digits_file, tmp_path / "out", recipe="zskd", overrides=SMALL, listener=events.append)
    assert (events[0].kind, events[0].text) == ("note", f"loading {digits_file}")
    for stage in ("synthesis", "distillation"):
        first = next(event for event in events if event.stage == stage and event.kind == "progress")
        assert first.completed == 0
        assert first.total > 0
