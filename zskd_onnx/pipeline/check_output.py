"""The check of an output folder, which needs no torch and therefore comes before its import."""

from __future__ import annotations

import os
from pathlib import Path

from zskd_onnx.errors import UsageError

LOCK = ".run.lock"
"""Name of the file that the run in a folder holds."""

INPUTS = "inputs"
"""Name of the folder of inputs that were Python objects."""


def check_output(folder: Path, *, overwrite: bool) -> None:
    """Raise UsageError if a new run may not write there: a file, a read-only folder, or without an option one in use."""
    if not os.path.exists(folder):  # Path.exists raises if a folder above may not be entered
        parent = next(parent for parent in folder.parents if os.path.exists(parent))
        if not os.access(parent, os.W_OK):
            raise UsageError(
                f"{folder}: cannot be created, because you may not write to {parent}; choose another --output"
            )
        return
    if not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give a folder with --output")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}: cannot be written by you; choose another --output")
    if not overwrite and any(path.name not in (LOCK, INPUTS) for path in folder.iterdir()):
        raise UsageError(
            f"{folder}: is not empty; --overwrite replaces an earlier run, --resume continues an interrupted one"
        )
