"""``evaluate``: a student beside its teacher, on real samples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from zskd_onnx.cli.options import (
    DeviceOption,
    FixOption,
    FormatOption,
    ImporterOption,
    LayoutOption,
    MeanOption,
    OutputNameOption,
    RangeOption,
    ShapeOption,
    StdOption,
    input_options,
)
from zskd_onnx.cli.printing import Format, percent, print_json, print_table, progress, reports_errors
from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import expect_place


@reports_errors
def evaluate(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="The .onnx file, or the output folder of a run.")],
    teacher: Annotated[Path, typer.Option("--teacher", help="The file that the student replaces.")],
    eval_data: Annotated[
        Path,
        typer.Option("--eval-data", metavar="FILE.npz", help="Real samples x and, if known, class numbers y."),
    ],
    belief_matching: Annotated[
        bool, typer.Option("--belief-matching", help="Walk from class to class and see whether the teacher follows.")
    ] = False,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Belief matching: samples to walk from.")] = 200,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Belief matching: gradient steps of a walk.")] = 100,
    rate: Annotated[
        float, typer.Option("--rate", min=0, max=1e6, help="Belief matching: rate of a step, in the unit space.")
    ] = 1.0,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Belief matching: draw the mean curves.")
    ] = None,
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
    """Measure STUDENT beside its teacher: agreement, divergence, accuracy, calibration, belief matching.

    What the file says of its input need not be said again. Without class numbers, agreement,
    divergence and belief matching are measured.

    Exit codes: 0 ok, 2 usage, 3 a file cannot be read, 4 import differs from onnxruntime.
    """
    if not math.isfinite(rate):
        raise UsageError(f"--rate {rate}: expected a number of 0 or more")
    if plot is not None and not belief_matching:
        raise UsageError("--plot draws the curves of belief matching; give --belief-matching too")

    from zskd_onnx.metrics.belief_matching import BeliefMatching
    from zskd_onnx.pipeline.evaluate import evaluate as evaluate_student
    from zskd_onnx.report import plots

    if plot is not None:
        plots.check_matplotlib()
        expect_place(plot, "--plot")
    with progress() as listener:
        result = evaluate_student(
            student,
            teacher,
            eval_data,
            belief_matching=BeliefMatching(samples=samples, steps=steps, rate=rate) if belief_matching else None,
            device=device,
            listener=listener,
            **input_options(input_range, mean, std, layout, input_shape, output_name, fix, importer),
        )
    if plot is not None and result.transitions is not None:
        plots.draw_transitions(result.transitions.student, result.transitions.teacher, plot)
    if format == Format.JSON:
        print_json(result.to_dict())
    else:
        print_table(_rows(result))


def _rows(result: Any) -> dict[str, str]:
    rows = {
        "student": str(result.student),
        "samples": f"{result.samples:,}",
        "agreement": percent(result.agreement),
        "divergence": f"{result.divergence:.4g} nats, mean KL of the student from the teacher",
    }
    teacher, student = result.teacher_quality, result.student_quality
    if teacher is not None:
        rows["accuracy"] = f"teacher {percent(teacher.accuracy)}, student {percent(student.accuracy)}"
        rows["calibration error"] = (
            f"teacher {percent(teacher.calibration_error)}, student {percent(student.calibration_error)}"
        )
        names = result.class_names or range(len(teacher.class_accuracy))
        for name, theirs, ours in zip(names, teacher.class_accuracy, student.class_accuracy, strict=True):
            if theirs is not None:
                rows[f"class {name}"] = f"teacher {percent(theirs)}, student {percent(ours)}"
    if result.transitions is not None:
        rows["transition error"] = (
            f"{result.transitions.error:.4f}, mean over walks from {result.transitions.samples:,} samples"
        )
    return rows
