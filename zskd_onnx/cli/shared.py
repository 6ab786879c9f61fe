"""Options that several commands share, as dataclasses that ``with_shared_options`` spreads over a signature."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from zskd_onnx.cli.choices import Format, Importer, Layout, choice
from zskd_onnx.cli.help_page import OUTPUT, TEACHER_INPUT
from zskd_onnx.errors import UsageError


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of its dataclass parameters as options of their own.

    Typer builds options from a signature, so the decorated function gets a new one; when it is
    called, it puts the values of the options back together.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        group = groups.get(parameter.name)
        if group is None:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[parameter.name]))
        else:
            parameters += _parameters(group)

    @functools.wraps(command)
    def run(**values: Any) -> None:
        shared = {name: group(**{f.name: values.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        command(**values, **shared)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@functools.cache
def _parameters(group: type) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters."""
    types = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=types[f.name])
        for f in fields(group)
    ]


@dataclass(frozen=True)
class TeacherInput:
    """The options that describe the input and the output of a teacher's file."""

    input_range: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="Range of the raw input values, such as 0,255 (default: from the file).",
            rich_help_panel=TEACHER_INPUT,
        ),
    ] = None
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="M[,M,M]",
            help="Mean per channel, if the file expects (raw - mean) / std.",
            rich_help_panel=TEACHER_INPUT,
        ),
    ] = None
    std: Annotated[
        str | None,
        typer.Option(
            metavar="S[,S,S]", help="Standard deviation per channel; see --mean.", rich_help_panel=TEACHER_INPUT
        ),
    ] = None
    layout: Annotated[
        Layout | None,
        choice(Layout, "Order of the input's axes: NF, NCL, NLC, NCHW, NHWC, NCDHW or NDHWC.", TEACHER_INPUT),
    ] = None
    input_shape: Annotated[
        str | None,
        typer.Option(
            metavar="C,H,W",
            help="Shape of one sample in the file's layout, if the file leaves sizes open.",
            rich_help_panel=TEACHER_INPUT,
        ),
    ] = None
    output_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Output with the class scores, if the file has several.",
            rich_help_panel=TEACHER_INPUT,
        ),
    ] = None
    fix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Constant for another input: numbers with commas, or a .npy file. May be repeated.",
            rich_help_panel=TEACHER_INPUT,
        ),
    ] = None
    importer: Annotated[
        Importer, choice(Importer, "Importer of the file; onnx2torch is an optional extra.", TEACHER_INPUT)
    ] = Importer.NATIVE

    def options(self) -> dict[str, Any]:
        """The keyword arguments of ``load_teacher``.

        Raises:
            UsageError: an option cannot be read.
        """
        shape, ends = numbers(self.input_shape, "--input-shape"), numbers(self.input_range, "--input-range")
        if shape is not None and any(n % 1 != 0 for n in shape):
            raise UsageError(f"--input-shape '{self.input_shape}': expected whole numbers, such as 3,224,224")
        if ends is not None and (len(ends) != 2 or ends[0] >= ends[1]):
            raise UsageError(
                f"--input-range '{self.input_range}': expected the lowest and the highest value, such as 0,255"
            )
        return {
            "input_range": ends,
            "mean": numbers(self.mean, "--mean"),
            "std": numbers(self.std, "--std"),
            "layout": None if self.layout is None else self.layout.value,
            "input_shape": None if shape is None else [int(n) for n in shape],
            "output_name": self.output_name,
            "fix": constants(self.fix),
            "importer": self.importer.value,
        }


@dataclass(frozen=True)
class Output:
    """The options that say what is printed."""

    format: Annotated[Format, choice(Format, "Result as text or as one JSON object.", OUTPUT)] = Format.TEXT
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only errors on stderr.", rich_help_panel=OUTPUT)
    ] = False
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Print every progress event, and the traceback of unexpected errors.",
            rich_help_panel=OUTPUT,
        ),
    ] = False


def numbers(text: str | None, option: str) -> list[float] | None:
    """Numbers with commas between them; ``option`` is the name for messages.

    Raises:
        UsageError: the text is something else.
    """
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} '{text}': expected numbers with commas, such as 0,255") from None
    if not all(map(math.isfinite, values)):
        raise UsageError(f"{option} '{text}': expected finite numbers")
    return values


def constants(texts: list[str] | None) -> dict[str, Any]:
    """``--fix``: input name -> number, list of numbers or path of a .npy file.

    Raises:
        UsageError: an option cannot be read.
    """
    values: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--fix {text}: expected NAME=VALUE, such as temperature=1.0 or mask=mask.npy")
        array = None if value.endswith(".npy") else numbers(value, f"--fix {name}=")
        if array is None:
            values[name] = Path(value)
        else:
            values[name] = array if len(array) > 1 else array[0]
    return values
