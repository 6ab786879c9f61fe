"""Options with a fixed set of values."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import typer

Choice = TypeVar("Choice", bound=StrEnum)


def choice(kind: type[Choice], help: str, panel: str) -> Any:
    """An option that takes one of the values of ``kind``; help, completion and errors list them.

    Upper and lower case are the same. The option's name is that of the parameter.
    """
    values = [member.value for member in kind]
    metavar = "|".join(values)
    return typer.Option(
        metavar=metavar if len(metavar) <= METAVAR_WIDTH else kind.__name__.upper(),
        parser=_parser(kind, values),
        autocompletion=_completer(values),
        help=help,
        rich_help_panel=panel,
    )


METAVAR_WIDTH = 24
"""Longest list of values that stands beside an option; the help text has longer ones."""


def _parser(kind: type[Choice], values: list[str]) -> Callable[[str], Choice]:
    def parse(text: str) -> Choice:
        for member in kind:
            if member.value.lower() == text.lower():
                return member
        raise typer.BadParameter(f"'{text}': expected {', '.join(values[:-1])} or {values[-1]}")

    return parse


def _completer(values: list[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


class Format(StrEnum):
    """Format of a result on stdout."""

    TEXT = "text"
    JSON = "json"


class SampleFormat(StrEnum):
    """Format of samples on disk."""

    NPZ = "npz"
    NPY = "npy"
    PNG = "png"
    SAFETENSORS = "safetensors"


class Device(StrEnum):
    """Device that computes; ``auto`` takes CUDA where it is available."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Init(StrEnum):
    """Initialisation of the student."""

    RANDOM = "random"
    INHERIT = "inherit"
    AUTO = "auto"
    FILE = "file"


class Form(StrEnum):
    """Numbers of a quantised file."""

    INT8 = "int8"
    FP16 = "fp16"


class Importer(StrEnum):
    """Importer of ONNX files."""

    NATIVE = "native"
    ONNX2TORCH = "onnx2torch"


class Layout(StrEnum):
    """Order of the input's axes: vectors, sequences, images, volumes."""

    NF = "NF"
    NCL = "NCL"
    NLC = "NLC"
    NCHW = "NCHW"
    NHWC = "NHWC"
    NCDHW = "NCDHW"
    NDHWC = "NDHWC"
