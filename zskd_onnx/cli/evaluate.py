"""``evaluate``: a student and its teacher on real samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zskd_onnx.cli.choices import Device
from zskd_onnx.cli.help_page import BELIEF_MATCHING, REAL_DATA, TEACHER_INPUT
from zskd_onnx.cli.options import DeviceOption, StudentFile, number, whole_number
from zskd_onnx.cli.progress import progress
from zskd_onnx.cli.results import note_rows, percent, print_result
from zskd_onnx.cli.shared import Output, TeacherInput, with_shared_options
from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import expect_file, expect_parent

if TYPE_CHECKING:
    from zskd_onnx.pipeline.evaluate import Evaluation


@with_shared_options
def evaluate(
    student: StudentFile,
    teacher: Annotated[
        Path,
        typer.Option(metavar="TEACHER.onnx", help="The file that the student replaces.", rich_help_panel=TEACHER_INPUT),
    ],
    eval_data: Annotated[
        Path,
        typer.Option(
            metavar="FILE.npz", help="Real samples x, and class numbers y if known.", rich_help_panel=REAL_DATA
        ),
    ],
    belief_matching: Annotated[
        bool,
        typer.Option(
            "--belief-matching",
            help="Measure the mean transition error (Micaelli & Storkey 2019).",
            rich_help_panel=BELIEF_MATCHING,
        ),
    ] = False,
    samples: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole_number(1),
            help="Number of samples to start from.",
            rich_help_panel=BELIEF_MATCHING,
        ),
    ] = 200,
    steps: Annotated[
        int,
        typer.Option(
            metavar="N", parser=whole_number(1), help="Gradient steps per path.", rich_help_panel=BELIEF_MATCHING
        ),
    ] = 100,
    rate: Annotated[
        float,
        typer.Option(
            metavar="RATE",
            parser=number(0, 1e6),
            help="Step size in the unit space.",
            rich_help_panel=BELIEF_MATCHING,
        ),
    ] = 1.0,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Plot the mean transition curves.", rich_help_panel=BELIEF_MATCHING),
    ] = None,
    device: DeviceOption = Device.AUTO,
    *,
    teacher_input: TeacherInput,
    printed: Output,
) -> None:
    """Compare STUDENT with its teacher on real samples.

    Measures agreement and divergence; with class numbers, also accuracy and calibration. The
    student's file describes its own input, so the options of the teacher's input are rarely needed.

    Examples:
      zskd-onnx evaluate out --teacher t.onnx --eval-data d.npz
      zskd-onnx evaluate out --teacher t.onnx \\
        --eval-data d.npz --belief-matching --plot curves.png

    Exit codes:
      0    success
      2    usage error
      3    a file cannot be read
      4    an import differs from onnxruntime
      130  interrupted
      143  terminated
    """
    if plot is not None and not belief_matching:
        raise UsageError("--plot needs --belief-matching, whose curves it plots; give both")
    expect_file(teacher, "an ONNX model")
    described = teacher_input.options()

    from zskd_onnx.data.arrays import find_arrays

    find_arrays(eval_data)  # before the imports, which take seconds

    from zskd_onnx.metrics.belief_matching import BeliefMatching
    from zskd_onnx.pipeline.evaluate import evaluate as evaluate_student
    from zskd_onnx.report.plots import draw_transition_curves

    if plot is not None:
        expect_parent(plot, "--plot")
    with progress(printed) as listener:
        result = evaluate_student(
            student,
            teacher,
            eval_data,
            belief_matching=BeliefMatching(samples=samples, steps=steps, rate=rate) if belief_matching else None,
            device=device.value,
            listener=listener,
            **described,
        )
    if plot is not None and result.transitions is not None:
        draw_transition_curves(result.transitions.student, result.transitions.teacher, plot)
    print_result(result.to_dict(), _rows(result), printed.format)


def _rows(result: Evaluation) -> dict[str, str]:
    rows = {
        "student": str(result.student),
        "samples": f"{result.samples:,}",
        "agreement": percent(result.agreement),
        "divergence": f"{result.divergence:.4g} nats (mean KL divergence from the teacher to the student)",
    }
    teacher, student = result.teacher_quality, result.student_quality
    if teacher is not None and student is not None:
        rows["accuracy"] = f"teacher {percent(teacher.accuracy)}, student {percent(student.accuracy)}"
        rows["calibration error"] = (
            f"teacher {percent(teacher.calibration_error)}, student {percent(student.calibration_error)}"
        )
        names = result.class_names or range(len(teacher.class_accuracy))
        for name, of_teacher, of_student in zip(names, teacher.class_accuracy, student.class_accuracy, strict=True):
            if of_teacher is not None and of_student is not None:
                rows[f"class {name}"] = f"teacher {percent(of_teacher)}, student {percent(of_student)}"
    if result.transitions is not None:
        rows["transition error"] = (
            f"{result.transitions.error:.4f} (mean over paths from {result.transitions.samples:,} samples)"
        )
    return rows | note_rows(result.notes)
