"""``inspect``: what a teacher's file holds."""

from __future__ import annotations

from zskd_onnx.cli.options import (
    FixOption,
    FormatOption,
    ImporterOption,
    LayoutOption,
    MeanOption,
    OutputNameOption,
    RangeOption,
    ShapeOption,
    StdOption,
    TeacherFile,
    input_options,
)
from zskd_onnx.cli.printing import Format, print_json, print_table, reports_errors
from zskd_onnx.system.files import expect_file


@reports_errors
def inspect(
    teacher: TeacherFile,
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
    """Show what TEACHER.onnx holds and what is assumed of its input.

    Exit codes: 0 ok, 2 usage, 3 teacher unsupported, 4 import differs from onnxruntime.
    """
    expect_file(teacher, "an ONNX model")  # before what takes seconds to load

    from zskd_onnx.pipeline.inspect import inspect as inspect_teacher

    facts = inspect_teacher(
        teacher, **input_options(input_range, mean, std, layout, input_shape, output_name, fix, importer)
    )
    if format == Format.JSON:
        print_json(facts)
        return
    given, head = facts["input"], facts["head"]
    before, norm = facts["second_last_layer"], facts["batch_norm"]
    print_table(
        {
            "file": f"{facts['path']} ({facts['bytes']:,} bytes, opset {facts['opset']}, {facts['producer'] or 'unknown producer'})",
            "input": f"'{given['name']}' {given['type']} {given['shape']} {given['layout']} (layout: {given['layout_source']})",
            "domain": f"{_bounds(given['low'])} to {_bounds(given['high'])} ({given['range_source']})"
            + (" -- assumed; say it with --input-range" if given["assumed"] else ""),
            **{f"output '{name}'": what for name, what in facts["outputs"].items()},
            "classes": _classes(facts["classes"], facts["class_names"]),
            "head": "none found"
            if head is None
            else f"W {head['weight']}{' with bias' if head['bias'] else ''} at {head['node']}",
            "layer before": "not one layer" if before is None else f"{before['outputs']} outputs at {before['node']}",
            "batch norm": f"statistics of {norm['statistics']} beside {norm['convolutions']} convolutions",
            "size": f"{facts['parameters']:,} parameters, {facts['multiply_adds']:,} multiply-adds a sample",
            "quantisation": facts["quantisation"] or "none",
            "operators": ", ".join(
                f"{entry['count']} {name}{'' if entry['supported'] else ' (not read, not needed)'}"
                for name, entry in facts["operators"].items()
            ),
            "parity": f"{facts['parity']:.2g} from onnxruntime at two batch sizes",
            **{
                f"recipe {name}": "suits" if verdict["suits"] else verdict["why"]
                for name, verdict in facts["recipes"].items()
            },
            "student": f"{facts['student']['name']} ({facts['student']['why']})",
            "smaller students": ", ".join(
                f"{s['name']} {s['parameters']:,} ({s['share']:.1%})" for s in facts["students"] if s["share"] < 1
            )
            or "none of the built-in ones",
        }
    )


def _classes(count: int, names: list[str] | None) -> str:
    if names is None:
        return f"{count}, without names"
    shown = ", ".join(names[:10])
    return f"{count}: {shown}{', ...' if count > 10 else ''}"


def _bounds(values: list[float]) -> str:
    """One number, one for each channel, or, of many features, the least and the greatest."""
    if len(values) > 8:
        return f"{min(values):g}..{max(values):g}"
    return ",".join(f"{v:g}" for v in (values if len(set(values)) > 1 else values[:1]))
