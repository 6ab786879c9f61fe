"""The report of a sweep: one page that needs no other file, made from the sweep's folder alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zskd_onnx.pipeline.run_folder import REPORT
from zskd_onnx.report.page import percent, render
from zskd_onnx.report.plots import Plot, sweep_figure, to_plot
from zskd_onnx.report.shown_names import short_name
from zskd_onnx.sweeps.grid import Run
from zskd_onnx.sweeps.plot import sweep_lines
from zskd_onnx.sweeps.recorded_sweep import RUNS, read_rows
from zskd_onnx.sweeps.table import Row, Spread, Summary, summarise
from zskd_onnx.system.files import write_text
from zskd_onnx.version import __version__

ROWS = 500
"""Largest number of runs in the table."""


def write_sweep_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a sweep.

    Returns:
        The path of the page.

    Raises:
        UsageError: the folder has no sweep, or its table is damaged.
    """
    rows = read_rows(folder)
    summaries, common = summarise(rows), _common(rows)
    page = render(
        "sweep.html",
        title=f"Sweep in {short_name(folder.resolve().name)}/",
        footer=f"Report of a sweep of zskd-onnx {__version__}.",
        runs=len(rows),
        failed=sum(row.error is not None for row in rows),
        common=[f"{key}={value}" for key, value in common.items()],
        summaries=[_summary(summary, common) for summary in summaries],
        measured=any(row.student_accuracy is not None for row in rows),
        plot=_plot(summaries),
        rows=[_row(row, common, folder) for row in rows[:ROWS]],
        left_out=max(0, len(rows) - ROWS),
    )
    path = folder / REPORT
    write_text(path, page)
    return path


def _common(rows: Sequence[Row]) -> dict[str, Any]:
    """The settings that all runs share."""
    first, *others = (row.run.settings for row in rows)
    return {key: value for key, value in first.items() if all(key in other and other[key] == value for other in others)}


def _name(run: Run, common: Mapping[str, Any]) -> str:
    """The recipe, and the settings that not all runs share."""
    varied = {key: value for key, value in run.settings.items() if key not in common}
    return short_name(str(replace(run, settings=varied)), 200)


def _summary(summary: Summary, common: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": _name(summary.run, common),
        "seeds": summary.seeds,
        "failed": summary.failed,
        "accuracy": _spread(summary.student_accuracy),
        "agreement": _spread(summary.agreement),
        "multiply_adds": summary.multiply_adds,
    }


def _spread(spread: Spread | None) -> str:
    """Mean and standard deviation."""
    if spread is None or spread.deviation is None:
        return percent(None if spread is None else spread.mean)
    return f"{percent(spread.mean)} ± {100 * spread.deviation:.2f}"


def _plot(summaries: Sequence[Summary]) -> Plot | None:
    """The plot of the sweep, where one field varies."""
    shown = sweep_lines(summaries)
    if shown is None:
        return None
    figure = sweep_figure(shown.lines, shown.field, shown.metric, (5.2, 3.4))
    return to_plot(figure, f"{shown.metric} by {shown.field}")


def _row(row: Row, common: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A run, with a link to its report if there is one in the folder of the sweep."""
    page = None if row.folder is None else Path(RUNS, Path(row.folder).name, REPORT)
    return {
        "name": _name(row.run, common),
        "seed": row.run.seed,
        "link": quote(page.as_posix()) if page is not None and (folder / page).is_file() else None,
        "teacher": row.teacher_accuracy,
        "student": row.student_accuracy,
        "agreement": row.agreement,
        "parameters": row.parameters,
        "multiply_adds": row.multiply_adds,
        "seconds": row.seconds,
        "error": row.error,
    }
