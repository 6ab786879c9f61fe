"""Tables of sweeps."""

from __future__ import annotations

import csv
import io

import pytest

from zskd_onnx.sweeps.grid import Run
from zskd_onnx.sweeps.table import Row, summarise, to_csv


def row(epochs: int, seed: int, agreement: float | None, error: str | None = None) -> Row:
    run = Run("zskd", {"distillation.epochs": epochs, "synthesis.resolution": [0.5, 1]}, seed)
    return Row(run, agreement=agreement, error=error)


def test_mean_and_deviation_over_successful_seeds() -> None:
    rows = [row(1, 0, 0.8), row(1, 1, 0.9), row(1, 2, None, "failed"), row(2, 0, 0.7), row(3, 0, None, "failed")]
    first, second, third = summarise(rows)
    assert (first.seeds, first.failed) == (2, 1)
    assert first.agreement is not None
    assert first.agreement.mean == pytest.approx(0.85)
    assert first.agreement.deviation == pytest.approx(0.05 * 2**0.5)  # n - 1 = 1
    assert first.student_accuracy is None
    assert second.agreement is not None
    assert second.agreement.deviation is None
    assert (third.seeds, third.failed, third.agreement) == (0, 1, None)


def test_csv_has_a_line_for_each_run() -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv([row(1, 0, 0.8), row(2, 0, None, 'expected "a", not "b"')]))))
    assert [line["distillation.epochs"] for line in lines] == ["1", "2"]
    assert lines[0]["synthesis.resolution"] == "[0.5, 1]"
    assert (lines[0]["agreement"], lines[1]["agreement"]) == ("0.8", "")
    assert lines[1]["error"] == 'expected "a", not "b"'
