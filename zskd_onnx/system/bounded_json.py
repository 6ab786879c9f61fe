"""Reading of JSON files that nobody vouches for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LARGEST_INTEGER = 2**63
LARGEST = 1e39
"""Numbers at or beyond these are errors: they are no measurement, and arithmetic with them overflows."""


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError, ValueError, RecursionError: it cannot be read, is no JSON in UTF-8, or has a number out of range.
    """
    return json.loads(path.read_text(encoding="utf-8"), parse_int=_integer, parse_float=_float)


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= LARGEST_INTEGER:
        raise ValueError(f"number {text[:20]} is out of range")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if abs(value) >= LARGEST:
        raise ValueError(f"number {text[:20]} is out of range")
    return value
