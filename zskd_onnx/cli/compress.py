"""``compress``: a student from a teacher."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import typer

from zskd_onnx.cli.choices import Device, Form, choice
from zskd_onnx.cli.completion import complete_tracker
from zskd_onnx.cli.help_page import OUTPUT, RUN
from zskd_onnx.cli.options import (
    DataOption,
    DeviceOption,
    EvalDataOption,
    InitOption,
    OutputOption,
    PicturesOption,
    RecipeOption,
    SeedOption,
    SetOption,
    StudentOption,
    check_run_options,
)
from zskd_onnx.cli.print_compression import print_compression, print_plan
from zskd_onnx.cli.progress import progress
from zskd_onnx.cli.quality_gates import QualityGates
from zskd_onnx.cli.shared import Output, TeacherInput, with_shared_options
from zskd_onnx.cli.targets import Targets
from zskd_onnx.errors import UsageError
from zskd_onnx.pipeline.check_output import check_output
from zskd_onnx.system.files import expect_file, expect_folder
from zskd_onnx.system.ranks import ranks
from zskd_onnx.tracking.base import check_trackers, tracked


@with_shared_options
def compress(
    teacher: Annotated[
        Path | None, typer.Argument(metavar="TEACHER.onnx", help="The trained classifier; not needed with --resume.")
    ] = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    student: StudentOption = None,
    init: InitOption = None,
    data: DataOption = None,
    eval_data: EvalDataOption = None,
    pictures: PicturesOption = None,
    transfer_set: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|URL",
            help="Train on the transfer set of an earlier run with the same teacher; one at a URL (s3://bucket/set) is copied.",
            rich_help_panel=RUN,
        ),
    ] = None,
    seed: SeedOption = None,
    device: DeviceOption = Device.AUTO,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time that the run may take, such as 90s, 10m or 2h: fewer samples, shorter training.",
            rich_help_panel=RUN,
        ),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_tracker,
            help="Send figures to an experiment tracker: tensorboard or mlflow (extras). May be repeated.",
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the run in the output folder with its own settings; no other option is needed.",
            rich_help_panel=RUN,
        ),
    ] = False,
    allow_degenerate: Annotated[
        bool,
        typer.Option(
            "--allow-degenerate",
            help="Train even if the teacher predicts few classes, or none with confidence, on the samples.",
            rich_help_panel=RUN,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the plan, and an estimate of time, memory and disk space; train nothing.",
            rich_help_panel=RUN,
        ),
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke",
            help="Run every stage at toy size in under a minute, to see whether the run will end well; write nothing.",
            rich_help_panel=RUN,
        ),
    ] = False,
    output: OutputOption = Path("zskd-out"),
    quantize: Annotated[
        Form | None,
        choice(Form, "Write a quantised student, too: student-int8.onnx or student-fp16.onnx.", OUTPUT),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of an earlier run.", rich_help_panel=OUTPUT)
    ] = False,
    *,
    targets: Targets,
    gates: QualityGates,
    teacher_input: TeacherInput,
    printed: Output,
) -> None:
    """Train a smaller student for TEACHER.onnx without its training data.

    Writes student.onnx, report.html, README.md, manifest.json, recipe.yaml, run.json, events.jsonl,
    pictures and the transfer set to the output folder.

    Examples:
      zskd-onnx compress teacher.onnx
      zskd-onnx compress teacher.onnx -r zskd --student half
      zskd-onnx compress teacher.onnx --input-range 0,255
      zskd-onnx compress teacher.onnx --target-params 25%
      zskd-onnx compress teacher.onnx --quantize int8
      zskd-onnx compress teacher.onnx --smoke
      zskd-onnx compress --resume --output zskd-out

    Exit codes:
      0    success
      1    unexpected error
      2    usage error, or a faulty recipe
      3    the teacher is unsupported
      4    the student or the import differs from onnxruntime
      5    a quality gate was missed, or samples are degenerate
      130  interrupted
      143  terminated
    """
    modes = {"--dry-run": dry_run, "--smoke": smoke, "--resume": resume}
    if teacher is not None:
        expect_file(teacher, "an ONNX model")  # before the imports, which take seconds
    elif not resume:
        raise UsageError("TEACHER.onnx is missing; 'zskd-onnx compress --help' lists the options")
    for first, second in combinations((name for name, is_given in modes.items() if is_given), 2):
        raise UsageError(f"{first} and {second} exclude each other; give one of them")
    if not (dry_run or resume) and ranks().leads and not ranks().restarts:
        check_output(output, overwrite=overwrite)
    quantized = [] if quantize is None else [f"deployment.quantize={quantize.value}"]
    overrides = [*(set_ or []), *gates.overrides(), *quantized]
    check_run_options(recipe, overrides, student, data, eval_data)
    if pictures is not None:
        expect_folder(pictures, "pictures, JPEG or PNG")
    check_trackers(track or [])
    if time_budget is not None and dry_run:
        raise UsageError("--time-budget and --dry-run exclude each other; a run with a budget prints what it changes")
    described = {**targets.options(student), **teacher_input.options()}

    from zskd_onnx.pipeline.compress import compress as run
    from zskd_onnx.pipeline.estimate import estimate
    from zskd_onnx.pipeline.make_transfer_set import check_reusable
    from zskd_onnx.pipeline.plan import prepare

    options: dict[str, Any] = {
        "recipe": recipe,
        "overrides": overrides,
        "student": student,
        "seed": seed,
        "device": device.value,
        "eval_data": eval_data,
        "pictures": pictures,
        "data": data,
        "init": None if init is None else init.value,
        **described,
    }
    if dry_run and teacher is not None:
        plan = prepare(teacher, **options)
        if transfer_set is not None:
            plan = check_reusable(transfer_set, plan)
        estimated = estimate(plan, has_transfer_set=transfer_set is not None)
        print_plan(plan, estimated, estimated.footprint.shortages(output), printed.format)
        return
    trackers = [] if smoke or not ranks().leads else track or []
    with progress(printed) as shown, tracked(trackers, output, shown) as (listener, finish):
        result = run(
            teacher,
            output,
            transfer_set=transfer_set,
            overwrite=overwrite,
            resume=resume,
            allow_degenerate=allow_degenerate,
            time_budget=time_budget,
            smoke=smoke,
            listener=listener,
            **options,
        )
        finish(result)
    if ranks().leads:
        print_compression(result, printed.format)
    result.check()
