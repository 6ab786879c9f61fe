"""The plot of a sweep over one numeric field, or over students."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zskd_onnx.report.plots import Point, draw_sweep
from zskd_onnx.sweeps.table import Summary

STUDENT = "student"
"""The field of a recipe that names the student."""


@dataclass(frozen=True)
class SweepLines:
    """What the plot of a sweep shows.

    Attributes:
        lines: recipe -> points (value of the field, mean of the metric, standard deviation).
        field: on the x axis, in words.
        metric: on the y axis, in words.
    """

    lines: dict[str, list[Point]]
    field: str
    metric: str


def draw(summaries: Sequence[Summary], path: Path) -> None:
    """Draw ``sweep_lines`` to a PNG, if there are any."""
    shown = sweep_lines(summaries)
    if shown is not None:
        draw_sweep(shown.lines, shown.field, shown.metric, path)


def sweep_lines(summaries: Sequence[Summary]) -> SweepLines | None:
    """Accuracy (agreement without evaluation data) where exactly one field varies, and is numeric or the student.

    Students are placed by their multiply-adds.
    """
    field = _varied(summaries)
    if field is None:
        return None
    metric = "student_accuracy" if any(s.student_accuracy for s in summaries) else "agreement"
    lines: dict[str, list[Point]] = {}
    for summary in summaries:
        spread = getattr(summary, metric)
        if spread is not None:
            x: Any = summary.multiply_adds if field == STUDENT else summary.run.settings[field]
            lines.setdefault(summary.run.recipe, []).append((x, spread.mean, spread.deviation or 0.0))
    if not lines:
        return None
    name = "multiply-adds per sample" if field == STUDENT else field
    return SweepLines(lines, name, metric.replace("_", " "))


def _varied(summaries: Sequence[Summary]) -> str | None:
    """The one field that has several values, if all of them are numbers, or students of known cost."""
    values = {key: [s.run.settings[key] for s in summaries] for key in summaries[0].run.settings}
    varied = [key for key, options in values.items() if any(value != options[0] for value in options)]
    if varied == [STUDENT] and all(s.multiply_adds is not None for s in summaries if s.seeds):
        return STUDENT
    numbers = [
        key for key in varied if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values[key])
    ]
    return varied[0] if len(varied) == 1 and varied == numbers else None
