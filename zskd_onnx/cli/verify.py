"""``verify``: checks of a student's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zskd_onnx.cli.help_page import REAL_DATA, TEACHER_INPUT
from zskd_onnx.cli.options import StudentFile
from zskd_onnx.cli.quality_gates import QualityGates
from zskd_onnx.cli.results import latency_rows, note_rows, percent, print_result
from zskd_onnx.cli.shared import Output, constants, with_shared_options
from zskd_onnx.system.files import expect_file

if TYPE_CHECKING:
    from zskd_onnx.pipeline.verification import Verification

WORST_CLASSES = 3
"""Number of classes whose loss of accuracy is printed; JSON has all."""


@with_shared_options
def verify(
    student: StudentFile,
    teacher: Annotated[
        Path | None,
        typer.Option(metavar="TEACHER.onnx", help="The file that the student replaces.", rich_help_panel=TEACHER_INPUT),
    ] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Constant for another input of the teacher: numbers with commas, or a .npy file. May be repeated.",
            rich_help_panel=TEACHER_INPUT,
        ),
    ] = None,
    eval_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Real samples x, and class numbers y if known; needs --teacher.",
            rich_help_panel=REAL_DATA,
        ),
    ] = None,
    *,
    gates: QualityGates,
    printed: Output,
) -> None:
    """Check STUDENT: parity with onnxruntime, digest, and whether it fits in the teacher's place.

    With the teacher, both are compared on the transfer set of the run or on real samples, and timed. The
    files are loaded in a process of their own: a file that crashes onnxruntime fails the check.

    Examples:
      zskd-onnx verify zskd-out
      zskd-onnx verify out/student.onnx --teacher teacher.onnx
      zskd-onnx verify out --teacher t.onnx --min-agreement 0.9
      zskd-onnx verify out --teacher t.onnx --eval-data d.npz \\
        --max-accuracy-drop 0.01 --max-latency-ratio 0.5

    Exit codes:
      0  success
      2  usage error
      3  a file cannot be read
      4  a check failed
      5  a quality gate was missed
    """
    if teacher is not None:
        expect_file(teacher, "an ONNX model")

    from zskd_onnx.pipeline.verify import verify as verify_student

    result = verify_student(
        student,
        teacher=teacher,
        fix=constants(fix),
        eval_data=eval_data,
        min_agreement=gates.min_agreement or 0.0,
        min_accuracy=gates.min_accuracy or 0.0,
        max_accuracy_drop=gates.max_accuracy_drop,
        max_latency_ratio=gates.max_latency_ratio,
    )
    print_result(result.to_dict(), _rows(result), printed.format)
    result.check()


def _rows(result: Verification) -> dict[str, str]:
    rows = {
        "student": str(result.student),
        "parity": f"{result.parity:.2g} difference between onnxruntime and the import",
        "digest": result.digest,
        "interface": result.interface,
    }
    if result.bytes is None:
        return rows
    rows["teacher digest"] = result.teacher_digest
    if result.agreement is not None and result.divergence is not None:
        rows["agreement"] = f"{percent(result.agreement)} on {result.samples:,} samples"
        if result.confident_agreement is not None:
            rows["agreement"] += (
                f"; {percent(result.confident_agreement)} where the teacher's confidence is 90 % or more"
            )
        rows["divergence"] = f"{result.divergence:.4g} nats (mean KL divergence from the teacher to the student)"
    rows |= _accuracy_rows(result)
    for label, figures in (
        ("parameters", result.parameters),
        ("multiply-adds", result.multiply_adds),
        ("file size", result.bytes),
    ):
        if figures is not None:
            rows[label] = f"{figures.teacher:,} -> {figures.student:,}"
    rows |= latency_rows(result.latency)
    for gate in result.gates:
        rows[f"gate {gate.name}"] = f"{'passed' if gate.passed else 'missed'}: {gate}"
    return rows | note_rows(result.notes)


def _accuracy_rows(result: Verification) -> dict[str, str]:
    """Accuracy, its drop, and the classes that lose most."""
    if result.accuracy is None or result.class_accuracy is None:
        return {}
    teacher, student = result.accuracy.teacher, result.accuracy.student
    side = "below" if student < teacher else "above"
    difference = f"{100 * abs(teacher - student):.2f} points {side}" if student != teacher else "equal"
    rows = {"accuracy": f"teacher {percent(teacher)}, student {percent(student)}, {difference}"}
    names = result.class_names or tuple(str(number) for number in range(len(result.class_accuracy.teacher)))
    drops = [
        (of_teacher - of_student, name)
        for name, of_teacher, of_student in zip(
            names, result.class_accuracy.teacher, result.class_accuracy.student, strict=True
        )
        if of_teacher is not None and of_student is not None and of_teacher > of_student
    ]
    worst = sorted(drops, reverse=True)[:WORST_CLASSES]
    if worst:
        rows["largest drops"] = ", ".join(f"class {name} {100 * drop:.2f} points" for drop, name in worst)
    return rows
