"""Atomic writes."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.conftest import file_size_limit
from zskd_onnx.system.files import atomic_write, write_text


def test_an_error_removes_the_temporary_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def interrupted() -> None:
        with atomic_write(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file.txt", "old")]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with file_size_limit(1000), pytest.raises(OSError, match=r"file\.txt") as error:
        write_text(path, "new" * 1000)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(path))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file.txt", "old")]
