"""The files of a sweep, and its rows as they were recorded. The files need not be trusted."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from zskd_onnx.config.first_fault import first_fault
from zskd_onnx.errors import UsageError
from zskd_onnx.sweeps.table import Row
from zskd_onnx.system.bounded_json import read_json

CSV = "sweep.csv"
JSON = "sweep.json"
PLOT = "sweep.png"
RUNS = "runs"
SCHEMA_VERSION = 2


def read_rows(folder: Path) -> list[Row]:
    """The rows of the sweep in a folder.

    Raises:
        UsageError: the folder has none, or they are damaged or of another version.
    """
    path = folder / JSON
    try:
        content = read_json(path)
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {content['schema_version']}, expected {SCHEMA_VERSION}")
        rows = [
            {"run": {key: row.pop(key) for key in ("recipe", "settings", "seed")}, **row} for row in content["runs"]
        ]
        if not rows:
            raise ValueError("it has no run")
        return TypeAdapter(list[Row]).validate_python(rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{path}: damaged, or of another version ({first_fault(error)}); run the sweep again"
        ) from error
