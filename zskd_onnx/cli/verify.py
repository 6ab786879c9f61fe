"""``verify``: checks of a student's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zskd_onnx.cli.help_page import REAL_DATA, TEACHER_INPUT
from zskd_onnx.cli.options import StudentFile, number
from zskd_onnx.cli.results import note_rows, percent, print_result
from zskd_onnx.cli.shared import Output, constants, with_shared_options
from zskd_onnx.system.files import expect_file

if TYPE_CHECKING:
    from zskd_onnx.pipeline.verify import Verification


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
            help="Real samples x and class numbers y; needs --teacher.",
            rich_help_panel=REAL_DATA,
        ),
    ] = None,
    min_agreement: Annotated[
        float,
        typer.Option(metavar="SHARE", parser=number(0, 1), help="Quality gate: smallest agreement, from 0 to 1."),
    ] = 0.0,
    min_accuracy: Annotated[
        float,
        typer.Option(metavar="SHARE", parser=number(0, 1), help="Quality gate: smallest accuracy, from 0 to 1."),
    ] = 0.0,
    *,
    printed: Output,
) -> None:
    """Check STUDENT: parity with onnxruntime, digest, and whether it fits in the teacher's place.

    Examples:
      zskd-onnx verify zskd-out
      zskd-onnx verify out/student.onnx --teacher teacher.onnx
      zskd-onnx verify out --teacher t.onnx --min-agreement 0.9

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
        min_agreement=min_agreement,
        min_accuracy=min_accuracy,
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
    if result.teacher_digest != "no teacher given":
        rows["teacher digest"] = result.teacher_digest
    if result.agreement is not None:
        rows["agreement"] = percent(result.agreement)
    if result.accuracy is not None:
        rows["accuracy"] = f"teacher {percent(result.accuracy.teacher)}, student {percent(result.accuracy.student)}"
    return rows | note_rows(result.notes)
