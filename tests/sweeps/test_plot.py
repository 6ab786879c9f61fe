"""Plots of sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zskd_onnx.sweeps.grid import Run
from zskd_onnx.sweeps.plot import draw
from zskd_onnx.sweeps.table import Row, summarise


@pytest.mark.parametrize(
    ("settings", "drawn"),
    [
        ([{"a": 1}, {"a": 2.5}], True),
        ([{"a": 1, "b": "x"}, {"a": 2, "b": "x"}], True),
        ([{"a": 1}], False),
        ([{}], False),
        ([{"a": "x"}, {"a": "y"}], False),
        ([{"a": True}, {"a": False}], False),
        ([{"a": 1, "b": 1}, {"a": 2, "b": 2}], False),
    ],
)
def test_plot_is_drawn_where_one_numeric_field_varies(
    tmp_path: Path, settings: list[dict[str, Any]], drawn: bool
) -> None:
    draw(summarise([Row(Run("zskd", each, 0), agreement=0.5) for each in settings]), tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").exists() == drawn


def test_students_are_drawn_by_their_multiply_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("zskd_onnx.sweeps.plot.draw_sweep", lambda *arguments: drawn.append(arguments))
    runs = [(Run("zskd", {"student": name}, 0), work) for name, work in (("thin:0.5", 200), ("thin:0.9", 800))]
    rows = [Row(run, agreement=0.5, multiply_adds=work) for run, work in runs]
    failed = Row(Run("zskd", {"student": "thin:0.1"}, 0), error="failed")
    draw(summarise([*rows, failed]), tmp_path / "sweep.png")
    assert drawn == [
        ({"zskd": [(200, 0.5, 0.0), (800, 0.5, 0.0)]}, "multiply-adds per sample", "agreement", tmp_path / "sweep.png")
    ]


def test_failed_runs_are_not_drawn(tmp_path: Path) -> None:
    draw(summarise([Row(Run("zskd", {"a": a}, 0), error="failed") for a in (1, 2)]), tmp_path / "sweep.png")
    assert list(tmp_path.iterdir()) == []
