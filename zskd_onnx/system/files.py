"""Files: what is expected of a path, and writing them whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zskd_onnx.errors import UsageError


def expect_file(path: Path, what: str) -> None:
    """Raise UsageError unless ``path`` is a regular file; the message says that ``what`` was expected."""
    if not os.path.isfile(path):  # where a path is too long, or may not be entered, Path's own raise
        found = "is no regular file" if os.path.exists(path) else "no such file"
        raise UsageError(f"{path}: {found}; expected {what}")


def expect_place(path: Path, option: str) -> None:
    """Raise UsageError unless a file may be written to ``path``; ``option`` is what the message names."""
    if os.path.isdir(path) or not os.path.isdir(path.parent):
        raise UsageError(f"{option} {path}: expected a file in a folder that there is")


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to ``path`` on success and removed otherwise."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a text file whole."""
    with written_beside(path) as partial:
        partial.write_text(text, encoding="utf-8")
