"""The command that repeats a run, from the settings that its folder records."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.run_settings import RunSettings
from zskd_onnx.students.thinning.target import UNITS
from zskd_onnx.system.invocation import PROGRAM

WITHOUT_EFFECT = {"importer": "native"}
"""Options that a run records although they have their default."""


def repeat_command(settings: RunSettings) -> str:
    """The command line that makes the run again in a folder ``again``; paths are those of the machine that made it."""
    words = [PROGRAM, "compress", str(settings.options["teacher"])]
    asked = settings.asked
    if asked["recipe"] is None:  # it was given in Python
        words += ["--recipe", run_folder.RECIPE]
    else:
        words += [] if asked["default"] else ["--recipe", str(asked["recipe"])]
        words += [word for text in asked["overrides"] for word in ("--set", str(text))]
        words += [word for key in ("seed", "init") if asked[key] is not None for word in (f"--{key}", str(asked[key]))]
    for key, value in settings.options.items():
        # The student that a target gave stands for the target.
        if (
            key != "teacher"
            and WITHOUT_EFFECT.get(key) != value
            and not (key in UNITS and "student" in settings.options)
        ):
            words += _option(key, value)
    return shlex.join([*words, "--output", "again"])


def _option(key: str, value: Any) -> Iterator[str]:
    """An option with its value, as the command line takes them."""
    option = f"--{key.replace('_', '-')}"
    values = (
        [f"{name}={_text(constant)}" for name, constant in value.items()]
        if isinstance(value, Mapping)
        else [_text(value)]
    )
    for text in values:
        yield from (f"{option}={text}",) if text.startswith("-") else (option, text)


def _text(value: Any) -> str:
    """A value; a list has commas."""
    return ",".join(map(_text, value)) if isinstance(value, list) else str(value)
