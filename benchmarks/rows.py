"""Rows of finished benchmark runs; a row is valid until its recipe changes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from zskd_onnx import load_recipe


def resolved(recipe: str, overrides: list[str]) -> dict[str, Any]:
    """The present values of a recipe, without its texts."""
    return load_recipe(recipe, overrides).model_dump(mode="json", exclude={"summary", "paper", "expected"})


def standing(path: Path, recipe: Any) -> dict[str, Any] | None:
    """The row in a file, or None if there is no file, the run failed, or its recipe was another.

    Args:
        recipe: from ``resolved``, or a list of such.
    """
    row = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return row if row.get("recipe") == recipe and "error" not in row else None


def commit() -> str:
    """The commit of this checkout, as git describes it; empty without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
