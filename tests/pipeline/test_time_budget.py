"""Runs that fit into the time that a user has."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest

from tests.conftest import Cli
from zskd_onnx import Cancelled, Event, UsageError, compress, prepare
from zskd_onnx.pipeline.time_budget import RESERVE, fit_synthesis, parse_budget

LONG = ["distillation.epochs=1000", "synthesis.count=3000", "synthesis.iterations=10"]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5 h", 5400), ("2min", 120), (30, 30)])
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0", "10 weeks", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="--time-budget"):
        parse_budget(text)


def test_the_clock_is_kept_and_the_schedule_ends(digits_file: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    begin = time.monotonic()
    result = compress(digits_file, tmp_path / "out", overrides=LONG, time_budget="20s", listener=events.append)
    assert time.monotonic() - begin < 22
    assert result.agreement > 0.5
    positions = [event for event in events if event.stage == "distillation" and event.kind == "progress"]
    assert positions[-1].completed == positions[-1].total > result.history["distillation"][-1]["step"]
    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(result.history["distillation"]) >= 15  # validations follow the position
    assert rows[-1]["agreement"]


def test_a_run_that_fits_is_not_changed(digits_file: Path, tmp_path: Path) -> None:
    short = ["distillation.epochs=2", "synthesis.count=300", "synthesis.iterations=5", "held_out=100"]
    first, second = (
        compress(digits_file, tmp_path / name, overrides=short, time_budget=budget).student
        for name, budget in (("free", None), ("budget", "1h"))
    )
    weights = [path.read_bytes() for path in (first, second)]
    assert weights[0] == weights[1]


def test_fewer_samples_are_made_and_steps_stay(digits_file: Path) -> None:
    plan = prepare(digits_file, overrides=["synthesis.count=100000"])
    fitted = fit_synthesis(plan, 2.0, None)
    assert plan.recipe.synthesis is not None
    assert fitted.recipe.synthesis is not None
    assert fitted.recipe.synthesis.count + fitted.recipe.held_out < 100_000
    assert fitted.recipe.distillation.steps(fitted.recipe.synthesis.count) == plan.recipe.distillation.steps(100_000)
    assert "to fit the time" in fitted.notes[-1]
    continued = fit_synthesis(plan, 1e-3, 5000)
    assert continued.recipe.synthesis is not None
    assert continued.recipe.synthesis.count + continued.recipe.held_out == 5000


def test_a_run_goes_on_with_another_budget(digits_file: Path, tmp_path: Path) -> None:
    def cancel(event: Event) -> None:
        if event.stage == "distillation" and event.completed > 100:
            raise Cancelled

    with pytest.raises(Cancelled):
        compress(digits_file, tmp_path / "out", overrides=LONG, time_budget="1h", listener=cancel)
    begin = time.monotonic()
    result = compress(None, tmp_path / "out", resume=True, time_budget=RESERVE + 4)
    assert time.monotonic() - begin < RESERVE + 6
    assert result.agreement > 0.5
    assert json.loads((tmp_path / "out" / "run.json").read_text())["options"]["time_budget"] == RESERVE + 4


def test_the_option(run: Cli, digits_file: Path) -> None:
    done = run("compress", digits_file, "--time-budget", "soon")
    assert done.returncode == 2
    assert "expected a duration such as 90s, 10m or 2h" in done.stderr
    both = run("compress", digits_file, "--time-budget", "10m", "--dry-run")
    assert both.returncode == 2
