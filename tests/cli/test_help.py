"""Help pages: whole at every width, light, and with examples that the parser accepts."""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer

from tests.cli.conftest import WIDTHS, Snapshot, assert_whole
from tests.conftest import Cli
from zskd_onnx.cli.app import app
from zskd_onnx.cli.help_page import PANELS, split_docstring
from zskd_onnx.config.files import DEFAULT_RECIPE
from zskd_onnx.pipeline.choose_recipe import DRAWING_RECIPE, NATURAL_RECIPE
from zskd_onnx.version import __version__

ROOT_COMMAND: Any = typer.main.get_command(app)


def pages(command: Any, path: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
    """All commands and groups, by their words."""
    inner = getattr(command, "commands", {})
    return {path: command} | {k: v for name, entry in inner.items() for k, v in pages(entry, (*path, name)).items()}


PAGES = pages(ROOT_COMMAND, ())
COMMANDS = {path: command for path, command in PAGES.items() if not hasattr(command, "commands")}


def test_every_command_is_here() -> None:
    single = {
        "compress",
        "inspect",
        "synthesize",
        "verify",
        "evaluate",
        "report",
        "quantize",
        "sweep",
        "demo",
        "doctor",
        "help",
    }
    recipes = {f"recipes {name}" for name in ("list", "show", "copy", "validate", "schema", "explain")}
    assert {" ".join(path) for path in COMMANDS} == single | recipes | {"students list"}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: " ".join(path) or "zskd-onnx")
def test_help_is_whole(run: Cli, snapshot: Snapshot, path: tuple[str, ...], width: int) -> None:
    done = run(*path, "--help", COLUMNS=str(width))
    assert (done.returncode, done.stderr) == (0, "")
    assert_whole(done.stdout, width)
    snapshot(f"help-{'-'.join(path) or 'zskd-onnx'}-{width}", done.stdout)


@pytest.mark.parametrize("words", [["-h"], ["help"], []], ids=" ".join)
def test_ways_to_the_list_of_commands(run: Cli, words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("--help").stdout


def test_ways_to_the_help_of_a_command(run: Cli) -> None:
    assert run("compress", "-h").stdout == run("help", "compress").stdout == run("compress", "--help").stdout
    assert run("recipes").stdout == run("help", "recipes").stdout == run("recipes", "-h").stdout
    assert run("students").returncode == 0
    assert run("help", "recipes", "explain").stdout == run("recipes", "explain", "-h").stdout


def test_help_of_an_unknown_command(run: Cli) -> None:
    done = run("help", "recipes", "explai")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: zskd-onnx recipes: no command 'explai'; did you mean 'explain'?\n"
    assert "expected compress, inspect" in run("help", "nothing").stderr


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(run: Cli, option: str) -> None:
    assert run(option).stdout == f"{__version__}\n"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_examples_and_exit_codes(path: tuple[str, ...]) -> None:
    _, blocks = split_docstring(COMMANDS[path].help)
    sections = dict(blocks)
    assert sections["Exit codes"][0].split() == ["0", *sections["Exit codes"][0].split()[1:]]
    examples = "\n".join(sections["Examples"]).replace("\\\n", " ").splitlines()
    assert any(shlex.split(line)[1 : len(path) + 1] == list(path) for line in examples)
    for line in examples:
        program, *words = shlex.split(line.partition(" > ")[0])
        assert program == "zskd-onnx"
        accept(words)


def accept(words: list[str]) -> None:
    """Parse the words of a command line; faulty ones raise typer.Exit with a code of 2."""
    command, context = ROOT_COMMAND, None
    while True:
        context = command.make_context(words[0] if context else "zskd-onnx", words[bool(context) :], parent=context)
        words = [*context._protected_args, *context.args]
        if not hasattr(command, "commands"):
            return
        command = command.commands[words[0]]


def test_faulty_examples_would_be_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        accept(["compress", "teacher.onnx", "--nonsense"])
    assert "--nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("path", PAGES, ids=lambda path: " ".join(path) or "zskd-onnx")
def test_every_option_is_described(path: tuple[str, ...]) -> None:
    context = PAGES[path].context_class(PAGES[path], info_name="x", help_option_names=["-h", "--help"])
    for parameter in PAGES[path].get_params(context):
        assert parameter.help, parameter.name
        assert parameter.help.endswith((".", ").")), parameter.help
        assert getattr(parameter, "is_flag", False) or parameter.metavar, parameter.name
        assert getattr(parameter, "rich_help_panel", None) in (None, *PANELS)


def test_the_default_recipes_are_named(run: Cli) -> None:
    """The help text is a copy, because the constants' modules import YAML and torch."""
    both = f"(default: {DRAWING_RECIPE} for drawings, {NATURAL_RECIPE} for natural images, {DEFAULT_RECIPE} for others)"
    assert both in " ".join(run("compress", "--help", COLUMNS="200").stdout.split())


LIGHT = """
import sys
from zskd_onnx.cli.app import app
try:
    app(sys.argv[1:])
except SystemExit:
    pass
heavy = {"torch", "onnx", "onnxruntime", "onnx_ir", "numpy", "pydantic", "yaml", "rich"} & set(sys.modules)
print("heavy:", sorted(heavy), file=sys.stderr)
"""


def processor_seconds() -> float:
    """Of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="session")
def compiled(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment, with bytecode as an installed package has."""
    cached = environment | {"PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode"))}
    return {key: value for key, value in cached.items() if key != "PYTHONDONTWRITEBYTECODE"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: " ".join(path) or "zskd-onnx")
def test_help_is_light_and_quick(path: tuple[str, ...], compiled: dict[str, str]) -> None:
    """At most 0.3 s of processor time, best of ten: other programs must not fail the test."""
    times = []
    for _ in range(10):
        begin = processor_seconds()
        done = subprocess.run(
            [sys.executable, "-c", LIGHT, *path, "--help"], capture_output=True, text=True, env=compiled, check=True
        )
        times.append(processor_seconds() - begin)
        assert "Usage" in done.stdout
        assert done.stderr.strip() == "heavy: []"
        if min(times) <= 0.3:
            return
    pytest.fail(f"--help took {min(times):.2f} s at best")
