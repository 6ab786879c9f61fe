"""The command that repeats a run, read by the command line itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from zskd_onnx import Recipe, load_recipe
from zskd_onnx.cli.app import app
from zskd_onnx.cli.shared import TeacherInput
from zskd_onnx.pipeline.repeat_command import repeat_command
from zskd_onnx.pipeline.run_settings import new_settings

COMPRESS: Any = typer.main.get_command(app).commands["compress"]


def parsed(command: str) -> dict[str, Any]:
    program, name, *words = shlex.split(command)
    assert (program, name) == ("zskd-onnx", "compress")
    return COMPRESS.make_context("compress", words).params


def repeated(teacher: Path, **options: Any) -> dict[str, Any]:
    asked = {"recipe": None, "overrides": (), "seed": None, "init": None, **options}
    return parsed(repeat_command(new_settings(teacher=teacher, **asked)))


def test_options_come_back(digits_file: Path) -> None:
    values = repeated(
        digits_file,
        recipe="zskd",
        overrides=["distillation.epochs=3", "synthesis.resolution=[0.5, 1]"],
        seed=7,
        init="random",
        student="cnn-small",
        device="cpu",
        input_range=(-1.0, 1.5),
        mean=[0.5],
        std=[0.25],
        layout="NCHW",
        input_shape=[1, 8, 8],
        fix={"mask": [1.0, 0.0]},
        importer="native",
    )
    assert values["teacher"] == digits_file
    assert (values["recipe"], values["seed"], values["student"]) == ("zskd", 7, "cnn-small")
    assert values["set_"] == ["distillation.epochs=3", "synthesis.resolution=[0.5, 1]"]
    described = TeacherInput(**{key: values[key] for key in TeacherInput.__dataclass_fields__}).options()
    assert described["input_range"] == [-1.0, 1.5]
    assert (described["mean"], described["std"], described["input_shape"]) == ([0.5], [0.25], [1, 8, 8])
    assert described["fix"] == {"mask": [1.0, 0.0]}
    assert values["output"] == Path("again")


def test_the_default_recipe_is_not_named(digits_file: Path) -> None:
    values = repeated(digits_file, overrides=["held_out=100"])
    assert values["recipe"] is None
    assert values["set_"] == ["held_out=100"]


def test_a_recipe_from_python_is_read_from_the_folder(digits_file: Path) -> None:
    assert isinstance(load_recipe("zskd"), Recipe)
    assert repeated(digits_file, recipe=load_recipe("zskd"))["recipe"] == "recipe.yaml"


@pytest.mark.parametrize("found", [True, False])
def test_the_student_that_a_target_gave_stands_for_it(digits_file: Path, found: bool) -> None:
    settings = new_settings(recipe=None, overrides=(), seed=None, init=None, teacher=digits_file, target_params="25%")
    values = parsed(repeat_command(settings.with_student("thin:0.4") if found else settings))
    assert (values["student"], values["target_params"]) == (("thin:0.4", None) if found else (None, "25%"))


def test_words_of_a_hostile_folder_stay_words(digits_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "a; rm -rf x $(y).onnx"
    path.write_bytes(digits_file.read_bytes())
    assert repeated(path)["teacher"] == path
