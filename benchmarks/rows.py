"""What a benchmark keeps of a run: a row stands as long as its recipe is the same."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from zskd_onnx import load_recipe


def resolved(recipe: str, overrides: list[str]) -> dict[str, Any]:
    """A recipe as it is now, but for its words."""
    return load_recipe(recipe, overrides).model_dump(mode="json", exclude={"summary", "paper", "expected"})


def standing(path: Path, recipe: Any) -> dict[str, Any] | None:
    """The row of a file, where it is there, of this recipe (or these) and no failure."""
    row = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return row if row.get("recipe") == recipe and "error" not in row else None


def commit() -> str:
    """Of the checkout that this file lies in; empty where nothing tells."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
