"""Errors of option parsing: one line, JSON if asked for, exit code 2."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Cli

CASES: dict[str, tuple[tuple[str, ...], str]] = {
    "an unknown option": (("inspect", "t.onnx", "--nonsense"), "no such option --nonsense"),
    "a misspelt option": (("compress", "t.onnx", "--see", "1"), "did you mean --seed or --set or --smoke?"),
    "a missing argument": (("inspect",), "TEACHER.onnx is missing"),
    "a missing option": (("evaluate", "s.onnx"), "--teacher is missing; expected TEACHER.onnx"),
    "a missing value": (("compress", "t.onnx", "--seed"), "'--seed' requires an argument"),
    "no whole number": (("compress", "t.onnx", "--seed", "x"), "--seed 'x': expected a whole number of 0 or more"),
    "too small": (("sweep", "t.onnx", "--seeds", "0"), "--seeds '0': expected a whole number of 1 or more"),
    "too large": (("verify", "s", "--min-accuracy", "7"), "--min-accuracy '7': expected a number from 0 to 1"),
    "not finite": (
        ("evaluate", "s", "--teacher", "t", "--eval-data", "d", "--rate", "nan"),
        "--rate 'nan': expected a number from 0 to 1e+06",
    ),
    "no such device": (("compress", "t.onnx", "--device", "tpu"), "--device 'tpu': expected auto, cpu or cuda"),
    "no such init": (("sweep", "t.onnx", "--init", "fresh"), "--init 'fresh': expected random, inherit, auto or file"),
    "no such layout": (("inspect", "t.onnx", "--layout", "HWC"), "--layout 'HWC': expected NF, NCL, NLC, NCHW"),
    "no such importer": (("inspect", "t.onnx", "--importer", "x"), "--importer 'x': expected native or onnx2torch"),
    "words too many": (("doctor", "now"), "unexpected extra argument"),
    "a misspelt command": (("compres", "t.onnx"), "no command 'compres'; did you mean 'compress'?"),
    "an unknown command": (("nothing",), "no command 'nothing'; expected compress, inspect"),
    "a misspelt recipe command": (("recipes", "shw"), "zskd-onnx recipes: no command 'shw'; did you mean 'show'?"),
    "quiet and verbose": (("doctor", "-q", "-v"), "--quiet and --verbose exclude each other"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_one_object(run: Cli, case: str) -> None:
    words, message = CASES[case]
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    as_json = run(words[0], "--format", "json", *words[1:]) if words[0] != "recipes" else run(*words, "--format=json")
    assert as_json.returncode == 2
    assert as_json.stderr == done.stderr
    content = json.loads(as_json.stdout)
    assert content["schema_version"] == 2
    assert content["error"] == {"type": "UsageError", "message": done.stderr[7:-1], "exit_code": 2}


def test_the_way_to_the_options_is_named(run: Cli) -> None:
    assert run("recipes", "show").stderr.endswith("'zskd-onnx recipes show --help' lists the options\n")
    assert run("--nonsense").stderr == "error: no such option --nonsense; 'zskd-onnx --help' lists the options\n"


@pytest.mark.parametrize("words", [("--format", "xml"), ("--", "--format", "json"), ("--recipe", "--format=json")])
def test_what_only_looks_like_the_option(run: Cli, words: tuple[str, ...]) -> None:
    """The parser decides, not the text of the command line."""
    done = run("compress", "t.onnx", "more.onnx", *words)
    assert (done.returncode, done.stdout) == (2, "")


def test_upper_and_lower_case_of_choices(run: Cli) -> None:
    done = run("inspect", "none.onnx", "--layout", "nhwc", "--importer", "Native")
    assert done.stderr == "error: none.onnx: no such file; expected an ONNX model\n"
