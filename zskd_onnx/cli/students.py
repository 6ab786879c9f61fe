"""``students``: list the architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zskd_onnx.cli.options import FixOption, FormatOption, LayoutOption, OutputNameOption, ShapeOption, input_options
from zskd_onnx.cli.printing import Format, print_json, print_table, reports_errors

students = typer.Typer(no_args_is_help=True, help="List the architectures that a student may have.")


@students.callback()
def _group() -> None:
    pass


@students.command("list")
@reports_errors
def list_(
    teacher: Annotated[
        Path | None, typer.Option("--teacher", metavar="TEACHER.onnx", help="Tells the size of each beside it.")
    ] = None,
    layout: LayoutOption = None,
    input_shape: ShapeOption = None,
    output_name: OutputNameOption = None,
    fix: FixOption = None,
    format: FormatOption = Format.TEXT,
) -> None:
    """The architectures; with a teacher, what each costs, and which does not take its samples."""
    from dataclasses import asdict

    from zskd_onnx.students.describe import describe
    from zskd_onnx.students.zoo.registry import STUDENTS
    from zskd_onnx.teacher.load import load_teacher

    if teacher is None:
        entries: list[dict[str, Any]] = [{"name": s.name, "summary": s.summary} for s in STUDENTS.values()]
        rows = {entry["name"]: entry["summary"] for entry in entries}
    else:
        told = input_options(None, None, None, layout, input_shape, output_name, fix, "native")
        loaded = load_teacher(teacher, **told)
        entries = [asdict(entry) for entry in describe(loaded.domain.shape, loaded.classes)]
        rows = {
            "teacher": _size(loaded.parameters_count, loaded.cost.multiply_adds),
            **{
                entry["name"]: entry["misfit"] or _size(entry["parameters"], entry["multiply_adds"])
                for entry in entries
            },
        }
    if format == Format.JSON:
        print_json({"students": entries})
    else:
        print_table(rows)


def _size(parameters: int, multiply_adds: int) -> str:
    return f"{parameters:,} parameters, {multiply_adds:,} multiply-adds a sample"
