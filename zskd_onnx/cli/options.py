"""The command line's options that several commands share, and how their text is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zskd_onnx.cli.printing import Format
from zskd_onnx.errors import UsageError

TeacherFile = Annotated[Path, typer.Argument(metavar="TEACHER.onnx", help="The trained classifier.")]
FormatOption = Annotated[Format, typer.Option("--format", help="Result as text or as one JSON object.")]
RangeOption = Annotated[
    str | None, typer.Option("--input-range", metavar="LOW,HIGH", help="Raw values of the input, such as 0,255.")
]
MeanOption = Annotated[
    str | None, typer.Option("--mean", metavar="M[,M,M]", help="The file expects (raw - mean) / std.")
]
StdOption = Annotated[str | None, typer.Option("--std", metavar="S[,S,S]", help="See --mean.")]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        metavar="NCHW|NHWC|...",
        help="Order of the input's dimensions: channels first or last; NCL, NCDHW likewise.",
    ),
]
ShapeOption = Annotated[
    str | None,
    typer.Option("--input-shape", metavar="C,H,W", help="One sample in the file's order, if it leaves sizes open."),
]
FixOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fix", metavar="NAME=VALUE", help="A constant for another input: numbers with commas, or a .npy file."
    ),
]
OutputNameOption = Annotated[str | None, typer.Option("--output-name", help="The output that holds the classes.")]
ImporterOption = Annotated[str, typer.Option("--importer", help="native, or onnx2torch (an extra).")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the student goes.")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Of every random draw; default: the recipe's.")]
EvalDataOption = Annotated[
    Path | None,
    typer.Option("--eval-data", metavar="FILE.npz", help="Real samples x and class numbers y, to score on only."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE.npz", help="Real samples x, and classes y if known, to train on."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


def numbers(text: str | None, option: str) -> list[float] | None:
    """Numbers with commas between them; ``option`` is what messages name.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} '{text}': expected numbers with commas, such as 0,255") from None


def constants(given: list[str] | None) -> dict[str, Any]:
    """--fix: the value of each input."""
    found: dict[str, Any] = {}
    for text in given or []:
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--fix {text}: expected NAME=VALUE, such as temperature=1.0 or mask=mask.npy")
        values = None if value.endswith(".npy") else numbers(value, f"--fix {name}=")
        if values is None:
            found[name] = Path(value)
        else:
            found[name] = values if len(values) > 1 else values[0]
    return found


def input_options(
    input_range: str | None,
    mean: str | None,
    std: str | None,
    layout: str | None,
    input_shape: str | None,
    output_name: str | None,
    fix: list[str] | None,
    importer: str,
) -> dict[str, Any]:
    """The options that describe a teacher, as ``load_teacher`` takes them.

    Raises:
        UsageError: one of them cannot be read.
    """
    shape = numbers(input_shape, "--input-shape")
    if shape is not None and any(n % 1 != 0 for n in shape):
        raise UsageError(f"--input-shape '{input_shape}': expected whole numbers, such as 3,224,224")
    return {
        "input_range": numbers(input_range, "--input-range"),
        "mean": numbers(mean, "--mean"),
        "std": numbers(std, "--std"),
        "layout": layout,
        "input_shape": None if shape is None else [int(n) for n in shape],
        "output_name": output_name,
        "fix": constants(fix),
        "importer": importer,
    }
