"""``verify``: a student's file, checked on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zskd_onnx.cli.options import FixOption, FormatOption, constants
from zskd_onnx.cli.printing import Format, percent, print_json, print_table, reports_errors


@reports_errors
def verify(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="The .onnx file, or the output folder of a run.")],
    teacher: Annotated[Path | None, typer.Option("--teacher", help="The file that the student replaces.")] = None,
    fix: FixOption = None,
    eval_data: Annotated[
        Path | None, typer.Option("--eval-data", metavar="FILE.npz", help="Real samples x and class numbers y.")
    ] = None,
    min_agreement: Annotated[float, typer.Option("--min-agreement", min=0, max=1, help="Gate, a fraction.")] = 0.0,
    min_accuracy: Annotated[float, typer.Option("--min-accuracy", min=0, max=1, help="Gate, a fraction.")] = 0.0,
    format: FormatOption = Format.TEXT,
) -> None:
    """Check a student: parity, digest, and whether it fits where the teacher was.

    Exit codes: 0 ok, 2 usage, 3 a file cannot be read, 4 a check failed, 5 a gate was missed.
    """
    from zskd_onnx.pipeline.verify import verify as verify_student

    result = verify_student(
        student,
        teacher=teacher,
        fix=constants(fix),
        eval_data=eval_data,
        min_agreement=min_agreement,
        min_accuracy=min_accuracy,
    )
    if format == Format.JSON:
        print_json(result.to_dict())
        result.check_gates()
        return
    rows = {
        "student": str(result.student),
        "parity": f"{result.parity:.2g} between onnxruntime and this package's import",
        "digest": result.digest,
        "interface": result.interface,
    }
    if result.agreement is not None:
        rows["agreement"] = percent(result.agreement)
    if result.accuracy is not None:
        rows["accuracy"] = f"teacher {percent(result.accuracy.teacher)}, student {percent(result.accuracy.student)}"
    print_table(rows)
    result.check_gates()
