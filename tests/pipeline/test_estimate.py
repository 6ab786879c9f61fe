"""Estimates of time, memory and disk space, beside what runs take."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import Exports
from zskd_onnx import compress, estimate, prepare
from zskd_onnx.pipeline.footprint import Footprint, footprint, with_shortages
from zskd_onnx.pipeline.time_span import Span
from zskd_onnx.pipeline.time_synthesis import time_synthesis
from zskd_onnx.synthesis.base import Synthesis

BUSY = 2.0
"""Factor beyond the range that a test allows: it is as short as the measurement, and other tests use the machine."""


def test_a_range_of_groups() -> None:
    span = Span.of([1.0, 3.0, 4.0, 4.0, 9.0, 1.0])
    assert (span.low, span.usual, span.high) == (2.0, pytest.approx(22 / 6), 5.0)
    doubled = span * 2 + Span(1, 1, 1)
    assert (doubled.low, doubled.high) == (5.0, 11.0)
    # A program that has a processor may lose half of it, one that has three tenths of it loses no more.
    assert [Span.of([2.0]).in_a_run(share) for share in (1.0, 0.5, 0.3)] == [(1.8, 4.0), (0.9, 3.3), (0.5, 2.4)]


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("zskd", ["synthesis.count=1500", "distillation.epochs=6"]),
        ("class-impressions", ["synthesis.count=1000", "distillation.epochs=12"]),
        ("abm", ["distillation.epochs=1", "distillation.epoch_samples=25600"]),
    ],
)
def test_a_run_takes_what_was_estimated(digits_file: Path, tmp_path: Path, recipe: str, changes: list[str]) -> None:
    ranges = estimate(prepare(digits_file, recipe=recipe, overrides=changes)).ranges
    seconds = compress(digits_file, tmp_path / "out", recipe=recipe, overrides=changes).seconds
    for stage, (low, high) in ranges.items():
        assert low / BUSY < seconds[stage] < high * BUSY


def test_samples_that_stop_early_are_not_counted_at_all_their_passes(digits_file: Path) -> None:
    """Few of the 1,500 passes are made, and an estimate that counts all would be more than ten times as long."""
    plan = prepare(digits_file, recipe="class-impressions", overrides=["synthesis.count=1000"])
    assert isinstance(plan.recipe.synthesis, Synthesis)
    plain = plan.recipe.synthesis.model_copy(update={"confidence": None})
    all_passes = replace(plan, recipe=plan.recipe.model_copy(update={"synthesis": plain}))
    assert 5 * time_synthesis(plan, 2.0).usual < time_synthesis(all_passes, 2.0).usual


def test_a_batch_that_is_not_finished_in_time(digits_file: Path) -> None:
    """It is extrapolated: as usual, samples stop after 50 of the 1,505 passes, and at most they make all of them."""
    plan = prepare(digits_file, recipe="class-impressions", overrides=["synthesis.count=1000"])
    span = time_synthesis(plan, 0.0)
    assert 0 < span.low <= span.usual
    assert span.usual * 10 < span.high


def test_a_second_stage_and_a_set_that_exists(digits_file: Path) -> None:
    plan = prepare(digits_file, overrides=["fine_tuning.epochs=1", "distillation.epochs=4"])
    reused = estimate(plan, 0.5, has_transfer_set=True)
    assert reused.seconds.keys() == reused.ranges.keys() == {"distillation", "fine-tuning"}
    assert reused.seconds["fine-tuning"] < reused.seconds["distillation"]
    assert reused.footprint.disk < footprint(plan).disk


RUN = """
import json, re, sys
from pathlib import Path
from zskd_onnx import compress, prepare
from zskd_onnx.pipeline.footprint import footprint
teacher, output, *overrides = sys.argv[1:]
takes = footprint(prepare(teacher, recipe="noise", overrides=overrides, student="wrn-10-1"))
compress(teacher, output, recipe="noise", overrides=overrides, student="wrn-10-1", allow_degenerate=True)
# ru_maxrss of a process begins with the memory of its parent, which may be larger.
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps({"memory": takes.memory, "peak": peak, "disk": takes.disk}))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell the memory of a process")
def test_memory_and_disk_of_a_run(exports: Exports, tmp_path: Path, environment: Mapping[str, str]) -> None:
    """A set of 126 MB, in memory and on disk."""
    count = 80_000
    overrides = (f"synthesis.count={count}", "distillation.epochs=1", "distillation.epoch_samples=1280")
    command = [sys.executable, "-c", RUN, str(exports.path("wrn", "17")), str(tmp_path / "out"), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(environment), check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert 0.7 * figures["peak"] < figures["memory"] < 1.4 * figures["peak"]
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*"))
    assert written > count * 3 * 16 * 16 * 2
    assert written < figures["disk"] < 1.1 * written


def test_what_the_machine_lacks(digits_file: Path, tmp_path: Path) -> None:
    """10^12 samples fit onto no disk; the folder of the output need not exist. In memory they need not fit."""
    assert Footprint(10**6, 10**6, 10**6).shortages(tmp_path) == ()
    (memory,) = Footprint(10**18, 10**18, 10**6).shortages(tmp_path)
    assert "of memory, and" in memory
    plan = prepare(digits_file, overrides=["synthesis.count=100000000"])
    large = plan.recipe.synthesis.model_copy(update={"count": 10**12})
    plan = replace(plan, recipe=plan.recipe.model_copy(update={"synthesis": large}))
    noted = with_shortages(plan, output=tmp_path / "new" / "out", has_transfer_set=False)
    (disk,) = noted.notes[len(plan.notes) :]
    assert str(tmp_path / "new" / "out") in disk
    assert not (tmp_path / "new").exists()


def test_an_estimate_draws_nothing_from_torch(digits_file: Path) -> None:
    """A run that begins with one gives the same student as without."""
    plan = prepare(digits_file)
    before = torch.get_rng_state()
    estimate(plan, 0.2)
    assert torch.equal(before, torch.get_rng_state())
