"""``inspect``: the content of a teacher's file."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zskd_onnx.cli.help_page import OUTPUT
from zskd_onnx.cli.options import TeacherFile
from zskd_onnx.cli.results import print_result
from zskd_onnx.cli.shared import Output, TeacherInput, with_shared_options
from zskd_onnx.system.files import expect_file

SHOWN_CLASSES = 10


@with_shared_options
def inspect(
    teacher: TeacherFile,
    thin: Annotated[
        bool,
        typer.Option(
            "--thin",
            help="Show which channels --student thin:0.5 removes, and which nodes hold others.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    *,
    teacher_input: TeacherInput,
    printed: Output,
) -> None:
    """Show what TEACHER.onnx contains, its input range, and which recipes and students suit it.

    Examples:
      zskd-onnx inspect teacher.onnx
      zskd-onnx inspect teacher.onnx --input-range 0,255
      zskd-onnx inspect teacher.onnx --thin
      zskd-onnx inspect teacher.onnx --format json

    Exit codes:
      0  success
      2  usage error
      3  the teacher is unsupported
      4  the import differs from onnxruntime
    """
    expect_file(teacher, "an ONNX model")  # before the imports, which take seconds

    if thin:
        from zskd_onnx.pipeline.inspect_thinning import inspect_thinning

        facts = inspect_thinning(teacher, **teacher_input.options()).to_dict()
        print_result(facts, _thinning_rows(facts), printed.format)
        return

    from zskd_onnx.pipeline.inspect import inspect as inspect_teacher

    facts = inspect_teacher(teacher, **teacher_input.options()).to_dict()
    print_result(facts, _rows(facts), printed.format)


def _rows(facts: dict[str, Any]) -> dict[str, str]:
    domain, head, norm, student = facts["input"], facts["head"], facts["batch_norm"], facts["student"]
    penultimate = facts["penultimate_layer"]
    smaller = [
        f"{s['name']} {s['parameters']:,} ({s['share']:.1%})"
        for s in facts["students"]
        if s["parameters"] < facts["parameters"] and s["multiply_adds"] < facts["multiply_adds"]
    ]
    shape = ", ".join(map(str, domain["shape"]))
    return {
        "file": f"{facts['path']} ({facts['bytes']:,} bytes, opset {facts['opset']}, "
        f"{facts['producer'] or 'unknown producer'})",
        "input": f"'{domain['name']}' {domain['type']} ({shape}) {domain['layout']} "
        f"(layout from: {domain['layout_source']})"
        + ("; this is an assumption, set --layout to be sure" if domain["layout_source"] == "default" else ""),
        "input range": f"{_bounds(domain['low'])} to {_bounds(domain['high'])} (from: {domain['range_source']})"
        + ("; this is an assumption, set --input-range to be sure" if domain["assumed"] else ""),
        **_warnings(domain["warnings"]),
        **{f"output '{name}'": content for name, content in facts["outputs"].items()},
        "classes": _classes(facts["classes"], facts["class_names"]),
        "final layer": "no fully connected layer found"
        if head is None
        else f"{head['weight'][1]} -> {head['weight'][0]}{'' if head['bias'] else ' without bias'} at {head['node']}",
        "penultimate layer": "no fully connected layer found"
        if penultimate is None
        else f"{penultimate['outputs']} outputs at {penultimate['node']}",
        "batch norm": f"{norm['statistics']} layers with statistics, {norm['convolutions']} convolutions",
        "size": _size(facts),
        "quantisation": facts["quantisation"] or "none",
        "operators": ", ".join(
            f"{entry['count']} {name}{'' if entry['supported'] else ' (not read, not needed)'}"
            for name, entry in facts["operators"].items()
        ),
        "parity": f"{facts['parity']:.2g} difference from onnxruntime at two batch sizes",
        **{
            f"recipe {name}": "suits"
            if verdict["suits"]
            else verdict["why"].removeprefix(f"{facts['path']}: recipe '{name}' ")
            for name, verdict in facts["recipes"].items()
        },
        "default recipe": _default_recipe(facts["default_recipe"]),
        **{
            f"procedural {kind}": f"{answers['named']:,} of {answers['classes']:,} classes, "
            f"{100 * answers['confident']:.0f} % confident, on {answers['samples']} images"
            for kind, answers in facts["procedural"].items()
        },
        "student": "none that auto picks is smaller; name one with --student"
        if student is None
        else f"{student['name']} ({student['why']})",
        "smaller students": ", ".join(smaller) or "none of the built-in ones",
    }


def _thinning_rows(facts: dict[str, Any]) -> dict[str, str]:
    teacher, half = facts["teacher"], facts["thin:0.5"]
    held = [f"{entry['width']} channels of {entry['node']}, by {entry['held_by']}" for entry in facts["held"]]
    return {
        "file": facts["path"],
        **{
            f"group {group['name']}": f"{group['width']} channels"
            + (f" of {group['positions']} values each" if group["positions"] > 1 else "")
            + f", {group['half']} in thin:0.5; shared by {group['nodes']} nodes, the first is {group['first']}"
            for group in facts["groups"]
        },
        **{f"held {i}" if len(held) > 1 else "held": text for i, text in enumerate(held, 1)},
        "teacher": _size(teacher),
        "thin:0.5": facts["reason"] if half is None else _size(half),
    }


def _size(size: dict[str, int]) -> str:
    return f"{size['parameters']:,} parameters, {size['multiply_adds']:,} multiply-adds per sample"


def _default_recipe(default: dict[str, str]) -> str:
    name, why = default["name"], default["why"].removeprefix(f"recipe {default['name']}, ")
    return f"{name} ({why})" if why else name


def _warnings(warnings: list[str]) -> dict[str, str]:
    return {f"warning {i}" if len(warnings) > 1 else "warning": text for i, text in enumerate(warnings, 1)}


def _classes(count: int, names: list[str] | None) -> str:
    if names is None:
        return f"{count}, without names"
    more = f" and {count - SHOWN_CLASSES:,} more" if count > SHOWN_CLASSES else ""
    return f"{count}: {', '.join(names[:SHOWN_CLASSES])}{more}"


def _bounds(values: list[float]) -> str:
    """One number, one for each channel, or the smallest and the largest of many."""
    if len(values) > 8:
        return f"{min(values):g}..{max(values):g}"
    return ",".join(f"{v:g}" for v in (values if len(set(values)) > 1 else values[:1]))
