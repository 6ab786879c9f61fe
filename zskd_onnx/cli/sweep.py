"""``sweep``: many runs and one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zskd_onnx.cli.choices import Device, Format
from zskd_onnx.cli.completion import complete_recipe, complete_setting
from zskd_onnx.cli.help_page import RECIPE, RUN
from zskd_onnx.cli.options import (
    DataOption,
    DeviceOption,
    EvalDataOption,
    InitOption,
    OutputOption,
    PicturesOption,
    StudentOption,
    TeacherFile,
    check_run_options,
    whole_number,
)
from zskd_onnx.cli.progress import progress
from zskd_onnx.cli.results import percent, print_result
from zskd_onnx.cli.shared import Output, TeacherInput, with_shared_options
from zskd_onnx.system.files import expect_file, expect_folder

if TYPE_CHECKING:
    from zskd_onnx.sweeps.table import Summary


@with_shared_options
def sweep(
    teacher: TeacherFile,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            "-r",
            metavar="NAME|FILE",
            autocompletion=complete_recipe,
            help="Built-in recipe, or a .yaml file (default: that of compress). May be repeated.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE,VALUE",
            autocompletion=complete_setting,
            help="A field of the recipe and its values. Repeat it for a grid.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    student: StudentOption = None,
    init: InitOption = None,
    data: DataOption = None,
    pictures: PicturesOption = None,
    eval_data: EvalDataOption = None,
    seeds: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole_number(1),
            help="Number of seeds per setting: 0 to N-1.",
            rich_help_panel=RUN,
        ),
    ] = 1,
    device: DeviceOption = Device.AUTO,
    output: OutputOption = Path("zskd-sweep"),
    *,
    teacher_input: TeacherInput,
    printed: Output,
) -> None:
    """Compress TEACHER.onnx with every recipe, every combination of --set values and every seed.

    Writes report.html, sweep.csv, sweep.json and a folder for each run; also sweep.png if exactly one
    numeric field varies. The same command again continues an interrupted sweep. A failed run becomes a row
    with its error. Several processes that run the same command share the runs.

    Examples:
      zskd-onnx sweep teacher.onnx -r best -r zskd --seeds 3
      zskd-onnx sweep t.onnx --set synthesis.count=1000,9000
      zskd-onnx sweep teacher.onnx --eval-data test.npz -o out

    Exit codes:
      0    success
      1    all runs failed, or an unexpected error
      2    usage error, or a faulty recipe
      3    the teacher is unsupported
      130  interrupted
      143  terminated
    """
    expect_file(teacher, "an ONNX model")  # before the imports, which take seconds
    if pictures is not None:
        expect_folder(pictures, "pictures, JPEG or PNG")
    described = teacher_input.options()

    from zskd_onnx.config.files import DEFAULT_RECIPE
    from zskd_onnx.sweeps.grid import run_grid

    for run in run_grid(recipe or [DEFAULT_RECIPE], set_ or [], 1):
        check_run_options(run.recipe, run.overrides, student, data, eval_data)

    from zskd_onnx.sweeps.sweep import sweep as run_sweep

    with progress(printed) as listener:
        result = run_sweep(
            teacher,
            output,
            recipes=recipe or [],
            settings=set_ or [],
            seeds=seeds,
            listener=listener,
            student=student,
            eval_data=eval_data,
            data=data,
            pictures=pictures,
            init=None if init is None else init.value,
            device=device.value,
            **described,
        )
    result.check()
    if printed.format == Format.TEXT:
        print(result.folder / "sweep.csv")
    rows = {str(summary.run): _figures(summary) for summary in result.summaries}
    print_result(result.to_dict(), rows, printed.format)


def _figures(summary: Summary) -> str:
    parts = [f"failed {summary.failed}"] if summary.failed else []
    for name, spread in (("accuracy", summary.student_accuracy), ("agreement", summary.agreement)):
        if spread is not None:
            deviation = "" if spread.deviation is None else f" ± {percent(spread.deviation)}"
            parts.append(f"{name} {percent(spread.mean)}{deviation}")
    return ", ".join(parts)
