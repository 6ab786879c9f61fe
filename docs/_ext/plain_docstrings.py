"""Docstrings are plain text, such as "(N, *shape)" and "|x|"; reStructuredText gives these signs a meaning.

Signs are escaped outside of ``code``, paragraphs of Python become code blocks, and "low, high: bounds" becomes
an entry for each name. Fields of a class are described once, in its docstring.
"""

from __future__ import annotations

import ast
import re
from itertools import groupby
from typing import Any

from sphinx.application import Sphinx


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of a docstring in place; a type alias has none of its own."""
    if what == "data":
        lines.clear()
    result: list[str] = []
    for is_text, group in groupby(lines, key=bool):
        paragraph = list(group)
        if is_text and _is_code(paragraph):
            result += [".. code-block:: python", "", *("    " + line for line in paragraph)]
        else:
            result += [_escape(line) for line in _one_name_each(paragraph)]
    lines[:] = result


def short_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, None] | None:
    """The signature of a settings class, whose fields are many and described below it."""
    return ("(**fields)", None) if hasattr(obj, "model_fields") else None


def skip_field(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Whether to leave a member out: a field, which the docstring of its class describes."""
    described = callable(obj) or isinstance(obj, property | classmethod | staticmethod)
    return True if what in ("class", "exception") and not described else None


def _one_name_each(paragraph: list[str]) -> list[str]:
    """The lines of a section, with entries of several names repeated for each name."""
    result: list[str] = []
    for entry in re.split(r"\n(?=    \S|\S)", "\n".join(paragraph)):
        match = re.match(r"    (\w+(?:, \w+)+): ", entry)
        names = match[1].split(", ") if match else []
        for name in names:
            result += f"    {name}: {entry[len(match[0]) :]}".split("\n")  # type: ignore[index]
        result += [] if names else entry.split("\n")
    return result


def _is_code(paragraph: list[str]) -> bool:
    try:
        statements = ast.parse("\n".join(paragraph)).body
    except SyntaxError:
        return False
    return any(not isinstance(statement, ast.Expr | ast.AnnAssign) for statement in statements)


def _escape(line: str) -> str:
    """The line with signs escaped, but not inside double backticks."""
    parts = line.split("``")
    parts[::2] = [re.sub(r"[*|]", r"\\\g<0>", part) for part in parts[::2]]
    return "``".join(parts)


def setup(app: Sphinx) -> dict[str, Any]:
    """Run before napoleon, which has the default priority of 500."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-skip-member", skip_field)
    app.connect("autodoc-process-signature", short_signature)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
