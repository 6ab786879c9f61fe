"""The tables of a sweep: a row for each run, and the mean over seeds of each setting."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zskd_onnx.sweeps.grid import Run


@dataclass(frozen=True)
class Row:
    """One run that ended. Accuracies and agreement are fractions in [0, 1]; None where there is no value.

    Attributes:
        run: recipe, settings and seed.
        folder: its output folder.
        agreement: with the teacher, on held-out synthesised samples.
        teacher_accuracy, student_accuracy: on the evaluation data.
        parity: largest difference between onnxruntime and torch on the student.
        seconds: duration of all stages; of the last attempt where the run was interrupted.
        parameters: number of the student's weights.
        multiply_adds: of the student, for one sample.
        error: the reason of a failure.
    """

    run: Run
    folder: str | None = None
    agreement: float | None = None
    teacher_accuracy: float | None = None
    student_accuracy: float | None = None
    parity: float | None = None
    seconds: float | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    error: str | None = None

    @classmethod
    def of(cls, run: Run, folder: Path, manifest: dict[str, Any]) -> Row:
        """The row of a run that finished, from its manifest."""
        accuracy = manifest.get("accuracy", {})
        return cls(
            run,
            str(folder),
            agreement=manifest["agreement"],
            teacher_accuracy=accuracy.get("teacher"),
            student_accuracy=accuracy.get("student"),
            parity=manifest["parity"]["max_abs_difference"],
            seconds=round(sum(manifest["seconds"].values()), 2),
            parameters=manifest["sizes"]["student"]["parameters"],
            multiply_adds=manifest["sizes"]["student"]["multiply_adds"],
        )

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON."""
        content = asdict(self)
        return {**content.pop("run"), **content}


@dataclass(frozen=True)
class Spread:
    """Mean and spread over seeds.

    Attributes:
        mean: the mean.
        deviation: the standard deviation with n - 1; None for one seed.
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Summary:
    """One recipe and its settings, over all seeds.

    Attributes:
        run: the first run.
        seeds, failed: number of runs that succeeded and that failed.
        agreement, student_accuracy: over the runs that succeeded; None where there is no value.
        multiply_adds: of the student, for one sample; None where no run succeeded.
    """

    run: Run
    seeds: int
    failed: int
    agreement: Spread | None
    student_accuracy: Spread | None
    multiply_adds: int | None

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON."""
        content = asdict(self)
        run = content.pop("run")
        return {"recipe": run["recipe"], "settings": run["settings"], **content}


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """The rows of each recipe with each combination of settings, in their order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row.run), []).append(row)
    return [
        Summary(
            run=group[0].run,
            seeds=sum(row.error is None for row in group),
            failed=sum(row.error is not None for row in group),
            agreement=_spread([row.agreement for row in group]),
            student_accuracy=_spread([row.student_accuracy for row in group]),
            multiply_adds=next((row.multiply_adds for row in group if row.multiply_adds is not None), None),
        )
        for group in groups.values()
    ]


def _spread(values: Sequence[float | None]) -> Spread | None:
    present = [value for value in values if value is not None]
    return Spread.of(present) if present else None


def to_csv(rows: Sequence[Row]) -> str:
    """A line for each run, a column for each field that the sweep sets."""
    lines = []
    for row in rows:
        content = row.to_dict()
        settings = {key: v if isinstance(v, str) else json.dumps(v) for key, v in content.pop("settings").items()}
        lines.append({"recipe": content.pop("recipe"), **settings, **content})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
