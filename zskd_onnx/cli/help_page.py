"""The layout of help pages: options in panels, wrapped to the terminal, nothing cut.

Typer's own pages need rich, which takes 0.2 s to load.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Sequence
from enum import Enum
from typing import Any

import typer

RECIPE = "Recipe"
STUDENT = "Student"
TEACHER_INPUT = "Teacher's input"
REAL_DATA = "Real data"
BELIEF_MATCHING = "Belief matching"
GATES = "Quality gates"
RUN = "Run"
OUTPUT = "Output"
PANELS = ("Arguments", RECIPE, STUDENT, TEACHER_INPUT, REAL_DATA, BELIEF_MATCHING, GATES, RUN, OUTPUT, "Options")
"""Headings of the panels, in their order on the page; ``rich_help_panel`` puts an option into one."""

MIN_WIDTH, MAX_WIDTH = 40, 100
"""Bounds of the length of a line, in characters."""

NARROW = 70
"""Pages narrower than this have the text of an option below it, wider ones beside it."""

COLUMN = 30
"""Largest width of the column of options."""

UNBROKEN = "\N{NO-BREAK SPACE}"
"""A space at which no line is wrapped."""

Entry = tuple[str, str]
"""A name and its description."""


def help_page(command: Any, context: Any) -> str:
    """The help of a command or a group of commands, for the width of the terminal.

    Args:
        command: click's object.
        context: of the command.
    """
    width = max(MIN_WIDTH, min(MAX_WIDTH, shutil.get_terminal_size().columns - 2))
    description, blocks = split_docstring(command.help or "")
    sections = [usage(command, context, width), *(textwrap.fill(text, width) for text in description)]
    panels = {panel: entries for panel in PANELS if (entries := _panel(command, context, panel))}
    commands = getattr(command, "commands", {})
    if commands:
        panels["Commands"] = [(name, summary(entry)) for name, entry in commands.items()]
    longest = max((len(name) for entries in panels.values() for name, _ in entries), default=0)
    column = min(longest, COLUMN) if width >= NARROW else None
    for heading, entries in panels.items():
        lines = [line for entry in entries for line in _entry(entry, column, width)]
        sections.append("\n".join([_heading(heading), *lines]))
    for heading, lines in blocks:
        sections.append("\n".join([_heading(heading), *lines]))
    return "\n\n".join(sections)


def usage(command: Any, context: Any, width: int) -> str:
    """The line that shows how the command is called."""
    start = f"Usage: {context.command_path} "
    pieces = ["[OPTIONS]", *(_argument(p) for p in command.params if p.param_type_name == "argument")]
    if getattr(command, "commands", {}):
        pieces.append("COMMAND ...")
    return textwrap.fill(start + " ".join(pieces), width, subsequent_indent=" " * 7, break_on_hyphens=False)


def summary(command: Any) -> str:
    """The first paragraph of a command's help, on one line."""
    description, _ = split_docstring(command.help or "")
    return description[0] if description else ""


def split_docstring(text: str) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Paragraphs, and blocks that are printed as they are: a heading and indented lines, as examples have."""
    paragraphs: list[str] = []
    blocks: list[tuple[str, list[str]]] = []
    for part in inspect.cleandoc(text).split("\n\n"):
        lines = part.splitlines()
        if len(lines) > 1 and all(line.startswith("  ") for line in lines[1:]):
            blocks.append((lines[0].rstrip(":"), lines[1:]))
        elif part.strip():
            paragraphs.append(" ".join(part.split()))
    return paragraphs, blocks


def _panel(command: Any, context: Any, panel: str) -> list[Entry]:
    entries = []
    for parameter in command.get_params(context):
        is_argument = parameter.param_type_name == "argument"
        own = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
        if own == panel and not getattr(parameter, "hidden", False):
            entries.append((_argument(parameter) if is_argument else _option(parameter), _description(parameter)))
    return entries


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _option(parameter: Any) -> str:
    """Names of an option, short before long, and its metavar; long names are aligned."""
    names = sorted(parameter.opts, key=len)
    indent = "" if len(names[0]) == 2 else "    "
    value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    return f"{indent}{', '.join(names)}{value}"


def _description(parameter: Any) -> str:
    default = parameter.default
    if isinstance(default, Enum):
        default = default.value
    extra = ""
    if parameter.required and parameter.param_type_name == "option":
        extra = " [required]"
    elif parameter.show_default and default not in (None, False, (), []) and not callable(default):
        extra = f" [default:{UNBROKEN}{default}]"
    return f"{parameter.help or ''}{extra}".strip()


def _entry(entry: Entry, column: int | None, width: int) -> list[str]:
    """The lines of an option or a command; ``column`` is the width of the names, None puts the text below."""
    name, text = entry
    first = f"  {name}"
    if column is None:
        return [first, *_wrapped(text, 8, width)]
    lines: Sequence[str] = _wrapped(text, column + 4, width)
    if len(name) > column or not lines:
        return [first, *lines]
    return [f"{first:<{column + 4}}{lines[0].lstrip()}", *lines[1:]]


def _wrapped(text: str, indent: int, width: int) -> list[str]:
    space = " " * indent
    lines = textwrap.wrap(text, width, initial_indent=space, subsequent_indent=space, break_on_hyphens=False)
    return [line.replace(UNBROKEN, " ") for line in lines]


def _heading(text: str) -> str:
    return str(typer.style(f"{text}:", bold=True))
