"""``compress``: the main job."""

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
    OutputOption,
    RangeOption,
    SeedOption,
    ShapeOption,
    StdOption,
    TeacherFile,
    input_options,
)
from zskd_onnx.cli.printing import Format, duration, percent, print_json, print_table, progress, reports_errors
from zskd_onnx.config.default import DEFAULT_RECIPE
from zskd_onnx.system.files import expect_file


@reports_errors
def compress(
    teacher: TeacherFile,
    output: OutputOption = Path("zskd-out"),
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="A built-in recipe or a .yaml file.")] = DEFAULT_RECIPE,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a field, such as distillation.epochs=50."),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option("--student", help="An architecture, half, auto, package.module:factory or file.py:factory."),
    ] = None,
    eval_data: EvalDataOption = None,
    data: DataOption = None,
    init: Annotated[str | None, typer.Option("--init", help="fresh, inherit (the teacher's channels) or auto.")] = None,
    transfer_set: Annotated[
        Path | None,
        typer.Option("--transfer-set", metavar="FOLDER", help="Impressions of an earlier run on this teacher."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run's files.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Resolve, inspect, print plan and cost; train nothing.")
    ] = False,
    seed: SeedOption = None,
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
    """Distil a smaller student from TEACHER.onnx, with no training data.

    Writes student.onnx, manifest.json, recipe.yaml, events.jsonl, pictures and the transfer set.
    Exit codes: 0 ok, 1 unexpected, 2 usage or configuration, 3 teacher unsupported, 4 parity
    failed, 5 quality gate missed, 130 interrupted.
    """
    expect_file(teacher, "an ONNX model")  # before what takes seconds to load

    from zskd_onnx.pipeline.compress import compress as run
    from zskd_onnx.pipeline.make_transfer_set import reuse
    from zskd_onnx.pipeline.plan import prepare

    options: dict[str, Any] = {
        "recipe": recipe,
        "overrides": set_ or [],
        "student": student,
        "seed": seed,
        "device": device,
        "eval_data": eval_data,
        "data": data,
        "init": init,
        **input_options(input_range, mean, std, layout, input_shape, output_name, fix, importer),
    }
    if dry_run:
        plan = prepare(teacher, **options)
        if transfer_set is not None:
            plan, _ = reuse(transfer_set, plan)
        _print_plan(plan, format, made=transfer_set is not None)
        return
    with progress() as listener:
        result = run(
            teacher, output, transfer_set=transfer_set, overwrite=overwrite, resume=resume, listener=listener, **options
        )
    print_result(result, format)
    result.check_gates()


def _print_plan(plan: Any, format: Format, *, made: bool) -> None:
    """``made``: whether nothing is to be synthesised."""
    estimate = {stage: seconds for stage, seconds in plan.estimate().items() if stage != "synthesis" or not made}
    if format == Format.JSON:
        print_json({"plan": {**plan.to_dict(), "estimate": estimate, "estimate_at_most": list(plan.at_most)}})
        return
    for note in plan.notes:
        print(note)
    rows = {stage: f"{'at most ' * (stage in plan.at_most)}{duration(seconds)}" for stage, seconds in estimate.items()}
    print_table({f"{stage} (estimate)": text for stage, text in rows.items()})
    print()
    print(plan.recipe_yaml(), end="")


def _where_sure(result: Any) -> str:
    if result.sure_agreement is None:
        return ""
    return f", {percent(result.sure_agreement)} on the {100 * result.sure:.0f} % of which it is at least 90 % sure"


def _kept(history: list[dict[str, Any]], step: int) -> str:
    """Which state of the student held-out samples chose, and what real ones say of that choice."""
    accuracies = {found["step"]: found["accuracy"] for found in history if "accuracy" in found}
    scored = accuracies.get(step)  # not where --eval-data came with --resume
    scores = f", {percent(scored)}; the best of any {percent(max(accuracies.values()))}" if scored is not None else ""
    return f"of step {step:,} of {history[-1]['step']:,}{scores}"


def print_result(result: Any, format: Format) -> None:
    if format == Format.JSON:
        print_json(result.to_dict())
        return
    print(result.student)
    teacher, student = result.teacher_size, result.student_size
    fewer = teacher.parameters / student.parameters
    size = f"{fewer:.1f} times fewer" if fewer >= 1 else "more than the teacher has; name a smaller --student"
    rows = {
        "agreement": f"{percent(result.agreement)} with the teacher on held-out samples{_where_sure(result)}",
        **{f"kept ({stage})": _kept(found, result.chosen[stage]) for stage, found in result.history.items() if found},
        "parity": f"{result.parity.max_abs_difference:.2g} from onnxruntime (tolerance {result.parity.tolerance:.2g})",
        "parameters": f"{teacher.parameters:,} -> {student.parameters:,} ({size})",
        "file": f"{teacher.bytes:,} -> {student.bytes:,} bytes",
        "time": ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in result.seconds.items()),
    }
    if result.accuracy is not None:
        rows = {
            "accuracy": f"teacher {percent(result.accuracy.teacher)}, student {percent(result.accuracy.student)}",
            **rows,
        }
    print_table(rows)
