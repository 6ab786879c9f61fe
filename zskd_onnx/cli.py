"""The command line: parses, calls the API, prints. No decision is made here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zskd_onnx.errors import UsageError
from zskd_onnx.options import (
    DeviceOption,
    FixOption,
    FormatOption,
    ImporterOption,
    LayoutOption,
    MeanOption,
    OutputNameOption,
    OutputOption,
    RangeOption,
    SeedOption,
    ShapeOption,
    StdOption,
    TeacherFile,
    constants,
    input_options,
)
from zskd_onnx.terminal import Format, duration, percent, print_json, print_table, progress, reports_errors
from zskd_onnx.version import __version__

app = typer.Typer(
    name="zskd-onnx",
    help="Compress a trained ONNX classifier without its training data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
recipes = typer.Typer(no_args_is_help=True, help="List, show and copy the built-in recipes.")
app.add_typer(recipes, name="recipes")


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
@reports_errors
def compress(
    teacher: TeacherFile,
    output: OutputOption = Path("zskd-out"),
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="A built-in recipe or a .yaml file.")] = "zskd",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a field, such as distillation.epochs=50."),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option("--student", help="An architecture, half, auto, package.module:factory or file.py:factory."),
    ] = None,
    eval_data: Annotated[
        Path | None,
        typer.Option("--eval-data", metavar="FILE.npz", help="Real samples x and class numbers y, to score on only."),
    ] = None,
    transfer_set: Annotated[
        Path | None,
        typer.Option("--transfer-set", metavar="FOLDER", help="Impressions of an earlier run on this teacher."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run's files.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Resolve, inspect, print plan and cost; train nothing.")
    ] = False,
    seed: SeedOption = None,
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
    """Distil a smaller student from TEACHER.onnx, with no training data.

    Writes student.onnx, manifest.json, recipe.yaml, events.jsonl, pictures and the transfer set.
    Exit codes: 0 ok, 1 unexpected, 2 usage or configuration, 3 teacher unsupported, 4 parity
    failed, 5 quality gate missed, 130 interrupted.
    """
    from zskd_onnx import compression, planning

    options: dict[str, Any] = {
        "recipe": recipe,
        "overrides": set_ or [],
        "student": student,
        "seed": seed,
        "device": device,
        "eval_data": eval_data,
        **input_options(input_range, mean, std, layout, input_shape, output_name, fix, importer),
    }
    if dry_run:
        _print_plan(planning.prepare(teacher, **options), format)
        return
    with progress() as listener:
        result = compression.compress(
            teacher, output, transfer_set=transfer_set, overwrite=overwrite, resume=resume, listener=listener, **options
        )
    _print_result(result, format)
    result.check_gates()


@app.command()
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
    from zskd_onnx.inspection import inspect as inspect_teacher

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
            "students": ", ".join(f"{s['name']} {s['parameters']:,} ({s['share']:.1%})" for s in facts["students"]),
        }
    )


@app.command()
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
    from zskd_onnx.verification import verify as verify_student

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


@app.command()
@reports_errors
def demo(
    output: OutputOption = Path("zskd-demo"),
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    format: FormatOption = Format.TEXT,
) -> None:
    """Compress a small teacher of handwritten digits that ships with the package.

    The student is scored on real digits that neither side was trained on. An earlier demo in the
    same folder is replaced.
    """
    from zskd_onnx.demo import demo as run_demo

    with progress() as listener:
        result = run_demo(output, seed=seed, device=device, listener=listener)
    _print_result(result, format)


@app.command()
@reports_errors
def doctor(format: FormatOption = Format.TEXT) -> None:
    """Show versions, devices and optional parts of this installation."""
    from zskd_onnx.doctor import examine

    facts = examine()
    if format == Format.JSON:
        print_json(facts)
    else:
        print_table({name: str(value) for name, value in facts.items()})


@recipes.command("list")
@reports_errors
def recipes_list(format: FormatOption = Format.TEXT) -> None:
    """The built-in recipes."""
    from zskd_onnx.recipe import load_recipe, recipe_names

    found = {name: load_recipe(name) for name in recipe_names()}
    if format == Format.JSON:
        described = [
            r.model_dump(mode="json", include={"name", "summary", "paper", "requires"}) for r in found.values()
        ]
        print_json({"recipes": described})
    else:
        print_table({name: recipe.summary for name, recipe in found.items()})


@recipes.command("show")
@reports_errors
def recipes_show(name: str, format: FormatOption = Format.TEXT) -> None:
    """A recipe with its comments."""
    from zskd_onnx.recipe import load_recipe, recipe_text

    if format == Format.JSON:
        print_json({"recipe": load_recipe(name).model_dump(mode="json")})
    else:
        print(recipe_text(name), end="")


@recipes.command("copy")
@reports_errors
def recipes_copy(
    name: str,
    target: Annotated[Path | None, typer.Argument(help="Default: NAME.yaml here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    format: FormatOption = Format.TEXT,
) -> None:
    """Copy a recipe to a file of your own."""
    from zskd_onnx.files import write_text
    from zskd_onnx.recipe import recipe_text

    text, path = recipe_text(name), target or Path(f"{name}.yaml")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists; --overwrite replaces it")
    write_text(path, text)
    if format == Format.JSON:
        print_json({"path": str(path)})
    else:
        print(path)


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


def _print_plan(plan: Any, format: Format) -> None:
    estimate = plan.estimate()
    if format == Format.JSON:
        print_json({"plan": {**plan.to_dict(), "estimate": estimate}})
        return
    for note in plan.notes:
        print(note)
    print_table({f"{stage} (estimate)": duration(seconds) for stage, seconds in estimate.items()})
    print()
    print(plan.recipe.to_yaml(), end="")


def _print_result(result: Any, format: Format) -> None:
    if format == Format.JSON:
        print_json(result.to_dict())
        return
    print(result.student)
    teacher, student = result.teacher_size, result.student_size
    rows = {
        "agreement": f"{percent(result.agreement)} with the teacher on held-out impressions",
        "parity": f"{result.parity.max_abs_difference:.2g} from onnxruntime (tolerance {result.parity.tolerance:.2g})",
        "parameters": f"{teacher.parameters:,} -> {student.parameters:,} ({teacher.parameters / student.parameters:.1f} times fewer)",
        "file": f"{teacher.bytes:,} -> {student.bytes:,} bytes",
        "time": ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in result.seconds.items()),
    }
    if result.accuracy is not None:
        rows = {
            "accuracy": f"teacher {percent(result.accuracy.teacher)}, student {percent(result.accuracy.student)}",
            **rows,
        }
    print_table(rows)


def main() -> None:
    """The console script."""
    app()
