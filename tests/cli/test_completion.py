"""Completion of the shell: commands, options, choices, recipes, students and keys."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import RENEW
from tests.cli.test_help import LIGHT
from tests.conftest import Cli
from zskd_onnx.cli import completion
from zskd_onnx.cli.choices import Device, Format, Importer, Init, Layout
from zskd_onnx.config import key_names
from zskd_onnx.config.fields import recipe_fields
from zskd_onnx.config.files import all_recipe_names
from zskd_onnx.config.key_names import KINDS
from zskd_onnx.config.recipe import SECTIONS_WITH_KINDS, Recipe
from zskd_onnx.students.zoo.architecture import STUDENTS
from zskd_onnx.teacher.load import IMPORTERS
from zskd_onnx.teacher.signature.domain import LAYOUTS

Complete = Callable[[str], list[str]]


@pytest.fixture
def complete(run: Cli) -> Complete:
    """What bash offers behind the words of a line."""

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        done = run(_ZSKD_ONNX_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1), COLUMNS="80")
        return done.stdout.split()

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("zskd-onnx comp", ["compress"]),
        ("zskd-onnx recipes ex", ["explain"]),
        ("zskd-onnx compress t.onnx --inp", ["--input-range", "--input-shape"]),
        ("zskd-onnx compress t.onnx --device ", ["auto", "cpu", "cuda"]),
        ("zskd-onnx compress t.onnx --init r", ["random"]),
        ("zskd-onnx inspect t.onnx --layout NH", ["NHWC"]),
        ("zskd-onnx inspect t.onnx --importer ", ["native", "onnx2torch"]),
        ("zskd-onnx doctor --format ", ["text", "json"]),
        ("zskd-onnx sweep t.onnx --recipe zs", ["zskd", "zskd-images", "zskd-uniform", "zskd-2019", "zskd-tensorflow"]),
        ("zskd-onnx recipes copy be", ["best"]),
        ("zskd-onnx compress t.onnx --student wrn-16", ["wrn-16-1", "wrn-16-2"]),
        ("zskd-onnx sweep t.onnx --student h", ["half"]),
        ("zskd-onnx compress t.onnx --set distillation.ep", ["distillation.epochs=", "distillation.epoch_samples="]),
        ("zskd-onnx recipes explain see", ["seed"]),
    ],
)
def test_completion(complete: Complete, line: str, expected: list[str]) -> None:
    assert complete(line) == expected


def test_recipe_files_are_completed(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "more.yaml").touch()
    assert complete("zskd-onnx recipes show m") == ["mvn", "mvn-softmax", "mvn-2021", "mine.yaml", "more.yaml"]


def test_copies_are_up_to_date() -> None:
    """The completer's lists are copies, because their sources import torch; ZSKD_RENEW=1 renews the keys."""
    assert sorted(STUDENTS) == sorted(completion.STUDENT_NAMES)
    fields = recipe_fields()
    assert {
        section: tuple(field.type for field in fields[f"{section}.kind"]) for section in SECTIONS_WITH_KINDS
    } == KINDS
    keys = tuple(path for path, alike in fields.items() if any(not field.keys for field in alike))
    if RENEW:
        module = Path(key_names.__file__)
        head = module.read_text(encoding="utf-8").partition("RECIPE_KEYS = (")[0]
        lines = "".join(f'    "{key}",\n' for key in keys)
        module.write_text(f"{head}RECIPE_KEYS = (\n{lines})\n", encoding="utf-8")
    else:
        assert keys == key_names.RECIPE_KEYS


def test_choices_are_those_of_the_library() -> None:
    assert {member.value for member in Layout} == {layout for layouts in LAYOUTS.values() for layout in layouts}
    assert {member.value for member in Importer} == set(IMPORTERS)
    assert {member.value for member in Init} == set(Recipe.model_fields["init"].annotation.__args__)
    assert [member.value for member in Device] == ["auto", "cpu", "cuda"]
    assert [member.value for member in Format] == ["text", "json"]


def test_built_in_recipes() -> None:
    assert completion.complete_built_in_recipe("") == all_recipe_names()
    assert completion.complete_student("") == ["auto", "half", *completion.STUDENT_NAMES]


@pytest.mark.parametrize("line", ["zskd-onnx compress t.onnx --set dist", "zskd-onnx compress t.onnx --student w"])
def test_completion_is_light(environment: dict[str, str], line: str) -> None:
    """A key press must not wait for torch. Typer itself loads pydantic from version 0.29 on."""
    asked = {"_ZSKD_ONNX_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    code = LIGHT.replace("app(sys.argv[1:])", "app(prog_name='zskd-onnx')")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment | asked, check=True
    )
    assert done.stdout.strip()
    assert done.stderr.strip() in ("heavy: []", "heavy: ['pydantic']")


def test_the_script_of_a_shell(run: Cli) -> None:
    done = run(_ZSKD_ONNX_COMPLETE="source_zsh")
    assert done.returncode == 0
    assert "#compdef zskd-onnx" in done.stdout
