"""Single options that more than one command has, and the parsers of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from zskd_onnx.cli.choices import Device, Init, choice
from zskd_onnx.cli.completion import STUDENT_NAMES, complete_recipe, complete_setting, complete_student
from zskd_onnx.cli.help_page import OUTPUT, REAL_DATA, RECIPE, RUN, STUDENT
from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import expect_file


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
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        metavar="NAME|FILE",
        autocompletion=complete_recipe,
        help="Built-in recipe, or a .yaml file (default: zskd-images for drawings, boundary for natural images, best for others).",
        rich_help_panel=RECIPE,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=complete_setting,
        help="Override a field of the recipe, such as distillation.epochs=50. May be repeated.",
        rich_help_panel=RECIPE,
    ),
]
StudentOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=complete_student,
        help="Architecture: a name from `students list`, half, auto, thin:0.5 (the teacher's graph with half of its "
        "channels), timm:NAME (an extra), or your own as FILE.onnx, module:factory or file.py:factory (default: the recipe's).",
        rich_help_panel=STUDENT,
    ),
]
InitOption = Annotated[
    Init | None,
    choice(
        Init,
        "Initialisation: random weights; inherit takes the teacher's most important channels; auto does so where it "
        "can; file takes the weights of the student's .onnx file (default: the recipe's).",
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
PicturesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Pictures of anything (JPEG, PNG): random crops of them join the images that the recipe draws.",
        rich_help_panel=REAL_DATA,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(metavar="N", parser=whole_number(0), help="Random seed (default: the recipe's).", rich_help_panel=RUN),
]
DeviceOption = Annotated[Device, choice(Device, "Device to compute on; auto takes CUDA if available.", RUN)]


def check_run_options(
    recipe: str | None, overrides: Sequence[str], student: str | None, data: Path | None, eval_data: Path | None
) -> None:
    """Raise UsageError where an option of a run has a fault that shows before torch is loaded, which takes seconds.

    Args:
        recipe: a built-in name or a file; None checks the overrides on the default recipe.
        overrides: of the recipe, such as "distillation.epochs=50".
    """
    from zskd_onnx.config.content import check_names
    from zskd_onnx.config.files import DEFAULT_RECIPE
    from zskd_onnx.data.arrays import find_arrays

    check_names(recipe or DEFAULT_RECIPE, overrides)
    if student is not None:
        expect_student(student)
    for path in (data, eval_data):
        if path is not None:
            find_arrays(path, labels=path == eval_data)


def expect_student(name: str) -> None:
    """Raise UsageError where a name is no student's; the message suggests the nearest.

    Names such as "mlp-48" belong to a family; only the registry of architectures knows all of them.
    """
    from zskd_onnx.students.own_files import is_onnx_file

    if is_onnx_file(name):
        expect_file(Path(name), "the ONNX model of a student")
        return
    families = {known.partition("-")[0] for known in STUDENT_NAMES}
    if ":" not in name and name not in ("auto", "half", *STUDENT_NAMES) and name.partition("-")[0] not in families:
        from zskd_onnx.config.suggest import nearest

        hint = nearest(name, ("auto", "half", *STUDENT_NAMES))
        raise UsageError(f"student '{name}' does not exist; {hint or 'zskd-onnx students list shows all names'}")
