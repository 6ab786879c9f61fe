"""The options that set quality gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from zskd_onnx.cli.help_page import GATES
from zskd_onnx.cli.options import number


def _gate(metavar: str, low: float, high: float, help: str) -> Any:
    return typer.Option(metavar=metavar, parser=number(low, high), help=help, rich_help_panel=GATES)


@dataclass(frozen=True)
class QualityGates:
    """Limits that the student must keep; exit code 5 where it does not."""

    min_agreement: Annotated[
        float | None, _gate("SHARE", 0, 1, "Smallest agreement with the teacher, from 0 to 1.")
    ] = None
    min_accuracy: Annotated[
        float | None, _gate("SHARE", 0, 1, "Smallest accuracy, from 0 to 1; needs --eval-data.")
    ] = None
    max_accuracy_drop: Annotated[
        float | None,
        _gate("SHARE", -1, 1, "Largest loss of accuracy, such as 0.01 for one point; needs --eval-data."),
    ] = None
    max_latency_ratio: Annotated[
        float | None,
        _gate("RATIO", 0, 1e6, "Largest ratio of the student's median latency to the teacher's, such as 0.5."),
    ] = None

    def overrides(self) -> list[str]:
        """The gates that were set, as overrides of a recipe."""
        return [f"deployment.{name}={limit}" for name, limit in vars(self).items() if limit is not None]
