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

    from zskd_onnx.errors import ZskdError
    from zskd_onnx.students.describe import describe
    from zskd_onnx.students.describe_thinned import describe_thinned, teacher_milliseconds
    from zskd_onnx.students.thinning.thin import teacher_groups
    from zskd_onnx.students.zoo.architecture import FAMILIES, STUDENTS
    from zskd_onnx.system.latency import latency_conditions
    from zskd_onnx.teacher.load import load_teacher

    content: dict[str, Any] = {}
    if teacher is None:
        entries: list[dict[str, Any]] = [{"name": s.name, "summary": s.summary} for s in STUDENTS.values()]
        rows = {entry["name"]: entry["summary"] for entry in entries}
        rows |= {family.pattern: family.summary for family in FAMILIES.values()}
    else:
        loaded = load_teacher(teacher, **teacher_input.options())
        total = loaded.parameters_count
        try:
            thinned = describe_thinned(loaded, teacher_groups(loaded))
        except ZskdError as error:
            thinned = []
            if not printed.quiet:
                typer.echo(f"no thinned versions: {error}", err=True)
        entries = [asdict(entry) for entry in (*thinned, *describe(loaded.domain.shape, loaded.classes))]
        own: dict[str, Any] = {"parameters": total, "multiply_adds": loaded.cost.multiply_adds}
        own["milliseconds"] = teacher_milliseconds(loaded)
        conditions = f"median time of a run in onnxruntime ({latency_conditions(loaded.batch or 1)})"
        content = {"teacher": own, "milliseconds": conditions}
        rows = {"teacher": _figures(own, total)}
        rows |= {entry["name"]: entry["unsupported_reason"] or _figures(entry, total) for entry in entries}
        rows["milliseconds"] = conditions
    print_result({**content, "students": entries}, rows, printed.format)


def _figures(entry: dict[str, Any], total: int) -> str:
    """Size, cost and latency of a network, and its share of the teacher's parameters."""
    share, latency = entry["parameters"] / max(1, total), entry["milliseconds"]
    text = f"{entry['parameters']:,} parameters ({share:.1%}), {entry['multiply_adds']:,} multiply-adds per sample"
    return text if latency is None else f"{text}, {latency:.3g} ms"
