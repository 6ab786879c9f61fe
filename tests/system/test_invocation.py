"""How a process was started."""

from __future__ import annotations

import sys

import pytest

from zskd_onnx.system.invocation import invocation


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/usr/bin/zskd-onnx", "compress", "a file.onnx"], "zskd-onnx compress 'a file.onnx'"),
        (["/site/zskd_onnx/__main__.py", "demo"], "zskd-onnx demo"),
        (["train.py", "compress"], "Python"),
        ([""], "Python"),
    ],
)
def test_the_command_line_or_python(monkeypatch: pytest.MonkeyPatch, argv: list[str], words: str) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert invocation() == words
