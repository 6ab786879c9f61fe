"""``compress``: a student from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zskd_onnx.cli.choices import Device, Format
from zskd_onnx.cli.completion import complete_recipe, complete_setting
from zskd_onnx.cli.help_page import OUTPUT, RECIPE, RUN
from zskd_onnx.cli.options import (
    DataOption,
    DeviceOption,
    EvalDataOption,
    InitOption,
    OutputOption,
    SeedOption,
    StudentOption,
    TeacherFile,
)
from zskd_onnx.cli.progress import progress
from zskd_onnx.cli.results import duration, percent, print_json, print_result, print_table
from zskd_onnx.cli.shared import Output, TeacherInput, with_shared_options
from zskd_onnx.system.files import expect_file

if TYPE_CHECKING:
    from zskd_onnx.pipeline.estimate import Estimate
    from zskd_onnx.pipeline.plan import Plan
    from zskd_onnx.pipeline.result import CompressionResult


@with_shared_options
def compress(
    teacher: TeacherFile,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            metavar="NAME|FILE",
            autocompletion=complete_recipe,
            help="Built-in recipe, or a .yaml file (default: best).",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            autocompletion=complete_setting,
            help="Override a field of the recipe, such as distillation.epochs=50. May be repeated.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    student: StudentOption = None,
    init: InitOption = None,
    data: DataOption = None,
    eval_data: EvalDataOption = None,
    transfer_set: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Train on the transfer set of an earlier run with the same teacher.",
            rich_help_panel=RUN,
        ),
    ] = None,
    seed: SeedOption = None,
    device: DeviceOption = Device.AUTO,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.", rich_help_panel=RUN)] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan and an estimate of the time; train nothing.", rich_help_panel=RUN
        ),
    ] = False,
    output: OutputOption = Path("zskd-out"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of an earlier run.", rich_help_panel=OUTPUT)
    ] = False,
    *,
    teacher_input: TeacherInput,
    printed: Output,
) -> None:
    """Train a smaller student for TEACHER.onnx without its training data.

    Writes student.onnx, manifest.json, recipe.yaml, events.jsonl, pictures and the transfer set to
    the output folder.

    Examples:
      zskd-onnx compress teacher.onnx
      zskd-onnx compress teacher.onnx -r zskd --student half
      zskd-onnx compress teacher.onnx --input-range 0,255

    Exit codes:
      0    success
      1    unexpected error
      2    usage error, or a faulty recipe
      3    the teacher is unsupported
      4    the student or the import differs from onnxruntime
      5    a quality gate was missed
      130  interrupted
    """
    expect_file(teacher, "an ONNX model")  # before the imports, which take seconds

    from zskd_onnx.config.files import DEFAULT_RECIPE
    from zskd_onnx.pipeline.compress import compress as run
    from zskd_onnx.pipeline.estimate import estimate
    from zskd_onnx.pipeline.make_transfer_set import reuse
    from zskd_onnx.pipeline.plan import prepare

    options: dict[str, Any] = {
        "recipe": recipe or DEFAULT_RECIPE,
        "overrides": set_ or [],
        "student": student,
        "seed": seed,
        "device": device.value,
        "eval_data": eval_data,
        "data": data,
        "init": None if init is None else init.value,
        **teacher_input.options(),
    }
    if dry_run:
        plan = prepare(teacher, **options)
        if transfer_set is not None:
            plan, _ = reuse(transfer_set, plan)
        _print_plan(plan, estimate(plan), printed.format, reused=transfer_set is not None)
        return
    with progress(printed) as listener:
        result = run(
            teacher, output, transfer_set=transfer_set, overwrite=overwrite, resume=resume, listener=listener, **options
        )
    print_compression(result, printed.format)
    result.check()


def _print_plan(plan: Plan, estimated: Estimate, format: Format, *, reused: bool) -> None:
    """Print the plan of a run; ``reused``: whether the transfer set exists already."""
    seconds = {stage: value for stage, value in estimated.seconds.items() if stage != "synthesis" or not reused}
    if format == Format.JSON:
        bounds = [stage for stage in estimated.at_most if stage in seconds]
        print_json({"plan": {**plan.to_dict(), "estimate": seconds, "estimate_at_most": bounds}})
        return
    for note in plan.notes:
        print(note)
    print_table(
        {
            f"{stage} (estimate)": f"{'at most ' * (stage in estimated.at_most)}{duration(value)}"
            for stage, value in seconds.items()
        }
    )
    print()
    print(plan.recipe_yaml(), end="")


def print_compression(result: CompressionResult, format: Format) -> None:
    """Print the result of a run; as text, the first line is the path of the student and nothing else."""
    if format == Format.TEXT:
        print(result.student)
    print_result(result.to_dict(), result_rows(result), format)


def result_rows(result: CompressionResult) -> dict[str, str]:
    """The table of a run's result."""
    teacher, student, accuracy = result.teacher_size, result.student_size, result.accuracy
    ratio = teacher.parameters / student.parameters
    size = f"{ratio:.1f} times fewer" if ratio >= 1 else "more than the teacher; choose a smaller --student"
    rows = {}
    if accuracy is not None:
        rows["accuracy"] = f"teacher {percent(accuracy.teacher)}, student {percent(accuracy.student)}"
    agreement = f"{percent(result.agreement)} on held-out synthesised samples"
    if result.confident_agreement is not None:
        agreement += (
            f"; {percent(result.confident_agreement)} on the {100 * result.confident:.0f} % "
            "of them with a teacher confidence of at least 90 %"
        )
    rows["agreement"] = agreement
    for stage, validations in result.history.items():
        if validations:
            rows[f"best step ({stage})"] = best_step(validations, result.chosen[stage])
    return {
        **rows,
        "parity": f"{result.parity.max_abs_difference:.2g} difference between torch and onnxruntime "
        f"(tolerance {result.parity.tolerance:.2g})",
        "parameters": f"{teacher.parameters:,} -> {student.parameters:,} ({size})",
        "file size": f"{teacher.bytes:,} -> {student.bytes:,} bytes",
        "time": ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in result.seconds.items()),
    }


def best_step(validations: list[dict[str, Any]], step: int) -> str:
    """The step whose weights were kept, with its accuracy on the evaluation data and the best of all steps."""
    text = f"{step:,} of {validations[-1]['step']:,}"
    accuracies = {entry["step"]: entry["accuracy"] for entry in validations if "accuracy" in entry}
    if step not in accuracies:  # a run that was resumed with --eval-data has some steps without
        return text
    return f"{text}: accuracy {percent(accuracies[step])}, the best of all steps {percent(max(accuracies.values()))}"
