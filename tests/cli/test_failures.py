"""Exceptions of commands: messages, exit codes and streams."""

from __future__ import annotations

import json
import warnings

import pytest
import typer

from zskd_onnx.cli.failures import reported, warnings_in_one_line
from zskd_onnx.errors import (
    Cancelled,
    ParityError,
    QualityError,
    RecipeError,
    UnsupportedTeacherError,
    UsageError,
    ZskdError,
)
from zskd_onnx.system.interrupts import Terminated

NOTE = "400 samples kept in out; to continue: zskd-onnx compress --resume --output out"


def noted(error: BaseException) -> BaseException:
    """An exception with the note of a run folder."""
    error.add_note(NOTE)
    return error


CASES = [
    (UsageError("a"), "UsageError", "a", 2),
    (RecipeError("a"), "RecipeError", "a", 2),
    (UnsupportedTeacherError("a"), "UnsupportedTeacherError", "a", 3),
    (ParityError("a"), "ParityError", "a", 4),
    (ZskdError("a"), "ZskdError", "a", 1),
    (noted(ParityError("a")), "ParityError", f"a; {NOTE}", 4),
    (Cancelled(), "Cancelled", "cancelled", 130),
    (noted(Cancelled("by the button")), "Cancelled", f"by the button; {NOTE}", 130),
    (KeyboardInterrupt(), "Interrupted", "interrupted", 130),
    (noted(KeyboardInterrupt()), "Interrupted", f"interrupted; {NOTE}", 130),
    (Terminated(), "Terminated", "terminated", 143),
    (noted(Terminated()), "Terminated", f"terminated; {NOTE}", 143),
    (OSError(28, "No space left", "out/x"), "OSError", "out/x: No space left", 1),
    (noted(OSError(28, "No space left", "out/x")), "OSError", f"out/x: No space left; {NOTE}", 1),
    (
        ValueError("two\nlines"),
        "ValueError",
        "unexpected ValueError: two lines; run the command with --verbose for the traceback, and report it",
        1,
    ),
]


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(("error", "kind", "message", "code"), CASES, ids=lambda case: type(case).__name__)
def test_one_line_and_an_exit_code(
    error: BaseException, kind: str, message: str, code: int, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, reported("compress", as_json=as_json, verbose=False):
        raise error
    captured = capsys.readouterr()
    assert ended.value.exit_code == code
    assert captured.err == f"error: {message}\n"
    if as_json:
        assert json.loads(captured.out)["error"] == {"type": kind, "message": message, "exit_code": code}
    else:
        assert captured.out == ""


def test_the_result_lists_missed_gates(capsys: pytest.CaptureFixture[str]) -> None:
    """The result has been printed; a second object would follow it."""
    with pytest.raises(typer.Exit) as ended, reported("verify", as_json=True, verbose=False):
        raise QualityError("agreement 0.5")
    captured = capsys.readouterr()
    assert (ended.value.exit_code, captured.out, captured.err) == (5, "", "error: agreement 0.5\n")


def test_verbose_prints_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reported("compress", as_json=False, verbose=True):
        raise ValueError("odd")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "error: unexpected ValueError: odd; please report it"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sweep", "error: interrupted; run the same command again to continue\n"),
        ("compress", f"error: interrupted; {NOTE}\n"),
    ],
)
def test_what_to_do_after_an_interrupt(command: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reported(command, as_json=False, verbose=False):
        raise noted(KeyboardInterrupt())
    assert words in capsys.readouterr().err


def test_a_command_may_end_itself() -> None:
    with pytest.raises(typer.Exit) as ended, reported("help", as_json=False, verbose=False):
        raise typer.Exit(7)
    assert ended.value.exit_code == 7


@pytest.mark.parametrize("quiet", [True, False])
def test_warnings_for_users(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with warnings_in_one_line(quiet=quiet):
            warnings.warn("mine.yaml: write init: random in place of init: fresh", FutureWarning, stacklevel=1)
    expected = "" if quiet else "warning: mine.yaml: write init: random in place of init: fresh\n"
    assert capsys.readouterr().err == expected
