"""Checks of file paths, and atomic writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zskd_onnx.errors import UsageError


def expect_file(path: Path, what: str) -> None:
    """Raise UsageError unless ``path`` is a regular file; the message says that ``what`` was expected."""
    if not os.path.isfile(path):  # Path.is_file raises if a path is too long or may not be entered
        problem = "not a regular file" if os.path.exists(path) else "no such file"
        raise UsageError(f"{path}: {problem}; expected {what}")


def expect_folder(path: Path, what: str) -> None:
    """Raise UsageError unless ``path`` is a folder; the message says that one with ``what`` was expected."""
    if not os.path.isdir(path):
        problem = "not a folder" if os.path.exists(path) else "no such folder"
        raise UsageError(f"{path}: {problem}; expected a folder with {what}")


def expect_parent(path: Path, option: str) -> None:
    """Raise UsageError if ``path`` is a folder or its parent does not exist; the message names ``option``."""
    if os.path.isdir(path):
        raise UsageError(f"{option} {path}: is a folder; expected the path of a file")
    if not os.path.isdir(path.parent):
        raise UsageError(f"{option} {path}: parent folder does not exist; create it first")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder: it is renamed to ``path`` on success, and removed after an error.

    Raises:
        OSError: it cannot be written, such as on a full disk; the error names ``path``.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")
