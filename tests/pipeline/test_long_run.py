"""The note before a long run."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import SMALL
from zskd_onnx.pipeline import long_run
from zskd_onnx.pipeline.estimate import Estimate, estimate
from zskd_onnx.pipeline.long_run import long_run_note
from zskd_onnx.pipeline.plan import Plan, prepare


@pytest.fixture(scope="module")
def plan(digits_file: Path) -> Plan:
    return prepare(digits_file, recipe="zskd", overrides=["synthesis.count=100000000", "distillation.epochs=1000"])


def test_a_run_of_years(plan: Plan) -> None:
    note = long_run_note(plan, has_transfer_set=False)
    assert note is not None
    assert re.match(
        r"this run will take (about|up to) [\d.]+ h in all \(synthesis [\d.]+ h, distillation [\d.]+ h\)", note
    )
    ways = note.partition("; to shorten it, give ")[2].split(" or ")
    assert ways[-1] == "--recipe procedural"
    count, epochs = (int(way.partition("=")[2]) for way in ways[:2])
    assert ways[0].startswith("--set synthesis.count=")
    assert ways[1].startswith("--set distillation.epochs=")
    hours = float(re.findall(r"([\d.]+) h in all", note)[0])
    assert count == pytest.approx(10**8 / hours, rel=0.1)  # a run of one hour
    assert epochs == max(1, int(1000 / hours))


def test_a_transfer_set_that_exists_takes_no_time(plan: Plan) -> None:
    note = long_run_note(plan, has_transfer_set=True)
    assert note is not None
    assert "synthesis" not in note


def test_a_short_run_is_not_timed(digits_file: Path) -> None:
    short = prepare(digits_file, recipe="zskd", overrides=SMALL)
    begin = time.perf_counter()
    assert long_run_note(short, has_transfer_set=False) is None
    assert time.perf_counter() - begin < 0.05


def test_few_passes_of_a_costly_teacher_are_timed(digits_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = prepare(digits_file, recipe="zskd", overrides=SMALL)
    monkeypatch.setattr(few.teacher, "cost", replace(few.teacher.cost, multiply_adds=10**11))
    timed = []

    def recording(plan: Plan, seconds: float, *, has_transfer_set: bool) -> Estimate:
        timed.append(estimate(plan, seconds, has_transfer_set=has_transfer_set))
        return timed[-1]

    monkeypatch.setattr(long_run, "estimate", recording)
    long_run_note(few, has_transfer_set=False)
    assert timed[0].seconds.keys() == {"synthesis", "distillation"}
