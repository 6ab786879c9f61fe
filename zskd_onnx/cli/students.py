"""``students``: the architectures of students."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zskd_onnx.cli.command import CONTEXT, Command, Group
from zskd_onnx.cli.help_page import TEACHER_INPUT
from zskd_onnx.cli.results import print_result
from zskd_onnx.cli.shared import Output, TeacherInput, with_shared_options
from zskd_onnx.system.files import expect_file

students = typer.Typer(cls=Group, context_settings=CONTEXT, invoke_without_command=True, rich_markup_mode=None)


@students.callback()
def group(context: typer.Context) -> None:
    """List the architectures of students.

    Examples:
      zskd-onnx students list
      zskd-onnx students list --teacher teacher.onnx
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@students.command("list", cls=Command)
@with_shared_options
def list_(
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="TEACHER.onnx", help="Show sizes relative to this teacher.", rich_help_panel=TEACHER_INPUT
        ),
    ] = None,
    *,
    teacher_input: TeacherInput,
    printed: Output,
) -> None:
    """List the architectures of students; with --teacher, their sizes for its input.

    Examples:
      zskd-onnx students list
      zskd-onnx students list --teacher teacher.onnx

    Exit codes:
      0  success
      2  usage error
      3  the teacher is unsupported
      4  the import differs from onnxruntime
    """
    if teacher is not None:
        expect_file(teacher, "an ONNX model")

    from dataclasses import asdict

    from zskd_onnx.students.describe import describe
    from zskd_onnx.students.zoo.architecture import FAMILIES, STUDENTS
    from zskd_onnx.teacher.load import load_teacher

    if teacher is None:
        entries: list[dict[str, Any]] = [{"name": s.name, "summary": s.summary} for s in STUDENTS.values()]
        rows = {entry["name"]: entry["summary"] for entry in entries}
        rows |= {family.pattern: family.summary for family in FAMILIES.values()}
    else:
        loaded = load_teacher(teacher, **teacher_input.options())
        total = loaded.parameters_count
        entries = [asdict(entry) for entry in describe(loaded.domain.shape, loaded.classes)]
        rows = {"teacher": _size(total, loaded.cost.multiply_adds, 1.0)} | {
            entry["name"]: entry["unsupported_reason"]
            or _size(entry["parameters"], entry["multiply_adds"], entry["parameters"] / max(1, total))
            for entry in entries
        }
    print_result({"students": entries}, rows, printed.format)


def _size(parameters: int, multiply_adds: int, share: float) -> str:
    return f"{parameters:,} parameters ({share:.1%}), {multiply_adds:,} multiply-adds per sample"
