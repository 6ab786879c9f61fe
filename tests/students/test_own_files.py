"""Files that the name of a student refers to."""

from __future__ import annotations

from pathlib import Path

import pytest

from zskd_onnx.students.own_files import own_file, with_absolute_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("small.onnx", "small.onnx"),
        ("./nets/small.onnx", "nets/small.onnx"),
        ("mine.py:factory", "mine.py"),
        ("package.module:factory", None),
        ("thin:0.5", None),
        ("thin:{a.onnx: 3}", None),
        ("lenet5-half", None),
    ],
)
def test_the_file_behind_a_name(name: str, path: str | None) -> None:
    assert own_file(name) == (None if path is None else Path(path))
    expected = name if path is None else f"{Path(path).absolute()}{':factory' if ':' in name else ''}"
    assert with_absolute_path(name) == expected
