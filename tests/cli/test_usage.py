"""Options that no command gets to see."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Cli


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "teacher.onnx", "--nonsense", "--format", "json"),
        ("inspect", "--format=json"),
        ("compress", "teacher.onnx", "--seed", "x", "--format", "json"),
        ("verify", "out", "--min-accuracy", "7", "--format", "json"),
        ("nothing", "--format", "json"),
    ],
)
def test_options_that_cannot_be_read_are_an_object_too(cli: Cli, arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert done.returncode == json.loads(done.stdout)["error"]["exit_code"] == 2
    assert json.loads(done.stdout)["error"]["message"]
    assert "Error" in done.stderr
    assert not cli(*(word for word in arguments if "format" not in word and word != "json")).stdout
