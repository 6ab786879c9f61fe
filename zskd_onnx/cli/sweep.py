"""``sweep``: many runs, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zskd_onnx.cli.options import (
    DataOption,
    DeviceOption,
    EvalDataOption,
    FixOption,
    FormatOption,
    ImporterOption,
    LayoutOption,
    MeanOption,
    OutputNameOption,
    RangeOption,
    ShapeOption,
    StdOption,
    TeacherFile,
    input_options,
)
from zskd_onnx.cli.printing import Format, percent, print_json, print_table, progress, reports_errors
from zskd_onnx.config.default import DEFAULT_RECIPE
from zskd_onnx.system.files import expect_file


@reports_errors
def sweep(
    teacher: TeacherFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the table and the runs go.")
    ] = Path("zskd-sweep"),
    recipe: Annotated[
        list[str] | None, typer.Option("--recipe", "-r", help="A built-in recipe or a .yaml file; repeat for several.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE,VALUE", help="A field and its values; repeat for a grid."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds 0 to N-1 for each setting.")] = 1,
    student: Annotated[str | None, typer.Option("--student", help="As in compress.")] = None,
    eval_data: EvalDataOption = None,
    data: DataOption = None,
    init: Annotated[str | None, typer.Option("--init", help="As in compress.")] = None,
    device: DeviceOption = "auto",
    input_range: RangeOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    layout: LayoutOption = None,
    input_shape: ShapeOption = None,
    output_name: OutputNameOption = None,
    fix: FixOption = None,
    importer: ImporterOption = "native",
    format: FormatOption = Format.TEXT,
) -> None:
    """Compress TEACHER.onnx with every recipe, every combination of --set values, and several seeds.

    Writes sweep.csv, sweep.json, a folder for each run and, where one field of numbers varies,
    sweep.png. The same command again goes on where it stopped. A run that fails is a row with its error.

    Exit codes: 0 ok, 1 all runs failed, 2 usage or configuration, 3 teacher unsupported, 130 interrupted.
    """
    expect_file(teacher, "an ONNX model")  # before what takes seconds to load

    from zskd_onnx.sweeps.sweep import sweep as run_sweep

    with progress() as listener:
        result = run_sweep(
            teacher,
            output,
            recipes=recipe or [DEFAULT_RECIPE],
            settings=set_ or [],
            seeds=seeds,
            listener=listener,
            student=student,
            eval_data=eval_data,
            data=data,
            init=init,
            device=device,
            **input_options(input_range, mean, std, layout, input_shape, output_name, fix, importer),
        )
    result.check()
    if format == Format.JSON:
        print_json(result.to_dict())
        return
    print(result.folder / "sweep.csv")
    print_table({str(summary.run): _figures(summary) for summary in result.summaries})


def _figures(summary: Any) -> str:
    found = [f"failed {summary.failed}"] if summary.failed else []
    for name, spread in (("accuracy", summary.student_accuracy), ("agreement", summary.agreement)):
        if spread is not None:
            deviation = "" if spread.deviation is None else f" ± {percent(spread.deviation)}"
            found.append(f"{name} {percent(spread.mean)}{deviation}")
    return ", ".join(found)
