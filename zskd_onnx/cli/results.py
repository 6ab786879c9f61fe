"""Results on stdout: JSON objects and tables."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zskd_onnx.cli.choices import Format
from zskd_onnx.cli.help_page import UNBROKEN

if TYPE_CHECKING:
    from zskd_onnx.system.timings import LatencyComparison

SCHEMA_VERSION = 2
"""Version of the JSON objects; it grows when a key changes its name or meaning."""

NARROWEST_VALUE = 20
"""Columns that the values of a table have at least; narrower terminals wrap the lines themselves."""


def print_result(content: Mapping[str, Any], rows: Mapping[str, str], format: Format) -> None:
    """Print a result as a JSON object or as a table."""
    if format == Format.JSON:
        print_json(content)
    else:
        print_table(rows)


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object with its schema version."""
    import json  # here, because it would slow down every help page

    print(json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2))


def print_table(rows: Mapping[str, str]) -> None:
    """Print names and values in two columns.

    A terminal gets values wrapped under their column; files and pipes get one line a row.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table_lines(rows, width):
        print(line)


def table_lines(rows: Mapping[str, str], width: int | None) -> list[str]:
    """The lines of a table; no text is cut.

    Args:
        rows: name -> value.
        width: of a line, in characters; None for lines of any length.
    """
    lines = []
    indent = max(map(len, rows), default=0) + 2
    for name, value in rows.items():
        parts = [value] if width is None else _wrapped(value, max(width - indent, NARROWEST_VALUE))
        lines.append(f"{name:<{indent}}{parts[0]}".rstrip())
        lines += [" " * indent + part for part in parts[1:]]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of a value, with each percentage in one piece."""
    lines = textwrap.wrap(text.replace(" %", f"{UNBROKEN}%"), width, break_on_hyphens=False)
    return [line.replace(UNBROKEN, " ") for line in lines] or [""]


def note_rows(notes: Sequence[str]) -> dict[str, str]:
    """The rows of a table for notes."""
    return {f"note {number}" if len(notes) > 1 else "note": text for number, text in enumerate(notes, 1)}


def duration(seconds: float) -> str:
    """A duration for people, such as "45 s", "12 min" or "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def between(low: float, high: float) -> str:
    """A range of durations for people, such as "4 to 9 min"."""
    first, last = duration(low), duration(high)
    if first == last:
        return last
    number, unit = first.split()
    return f"{number if unit == last.split()[1] else first} to {last}"


def latency_rows(latency: LatencyComparison | None) -> dict[str, str]:
    """The rows of a table for the latencies of teacher and student; none for None."""
    if latency is None:
        return {}
    medians, tails = (
        " -> ".join(f"{1000 * getattr(model, figure):.3g}" for model in (latency.teacher, latency.student))
        for figure in ("median", "p95")
    )
    return {"latency": f"{medians} ms, 95th percentile {tails} ms ({latency.conditions})"}


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as a percentage."""
    return f"{100 * fraction:.2f} %"


def figures(values: Mapping[str, Any]) -> list[str]:
    """Measured values in words, such as "held out loss 0.0123"."""
    return [
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, (int, float)) else f"{name} {value}"
        for name, value in values.items()
    ]
