"""Single options that more than one command has, and the parsers of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from zskd_onnx.cli.choices import Device, Init, choice
from zskd_onnx.cli.completion import complete_student
from zskd_onnx.cli.help_page import OUTPUT, REAL_DATA, RUN, STUDENT


def whole_number(at_least: int) -> Callable[[str | int], int]:
    """A parser of whole numbers, ``at_least`` or more. Typer passes defaults through it, too."""

    def parse(value: str | int) -> int:
        if not str(value).strip().isdecimal() or int(value) < at_least:
            raise typer.BadParameter(f"'{value}': expected a whole number of {at_least} or more")
        return int(value)

    return parse


def number(low: float, high: float) -> Callable[[str | float], float]:
    """A parser of numbers from ``low`` to ``high``, both included. Typer passes defaults through it, too."""

    def parse(value: str | float) -> float:
        try:
            parsed = float(value)
        except ValueError:
            parsed = float("nan")
        if not low <= parsed <= high:
            raise typer.BadParameter(f"'{value}': expected a number from {low:g} to {high:g}")
        return parsed

    return parse


TeacherFile = Annotated[Path, typer.Argument(metavar="TEACHER.onnx", help="The trained classifier.")]
StudentFile = Annotated[
    Path, typer.Argument(metavar="STUDENT", help="The student's .onnx file, or the output folder of a run.")
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="Output folder.", rich_help_panel=OUTPUT)
]
StudentOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=complete_student,
        help="Architecture: a name from `students list`, half, auto, or your own as module:factory or "
        "file.py:factory (default: the recipe's).",
        rich_help_panel=STUDENT,
    ),
]
InitOption = Annotated[
    Init | None,
    choice(
        Init,
        "Initialisation: random weights; inherit takes the teacher's most important channels; auto does so where it "
        "can (default: the recipe's).",
        STUDENT,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npz",
        help="Real samples x, and class numbers y if known. The student is trained on them.",
        rich_help_panel=REAL_DATA,
    ),
]
EvalDataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npz",
        help="Real samples x and class numbers y. They measure accuracy and train nothing.",
        rich_help_panel=REAL_DATA,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(metavar="N", parser=whole_number(0), help="Random seed (default: the recipe's).", rich_help_panel=RUN),
]
DeviceOption = Annotated[Device, choice(Device, "Device to compute on; auto takes CUDA if available.", RUN)]
