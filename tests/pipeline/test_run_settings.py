"""The settings that a run folder records, and options that repeat or contradict them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zskd_onnx import RecipeError, UsageError, load_recipe
from zskd_onnx.pipeline.resumed_settings import resumed_settings
from zskd_onnx.pipeline.run_settings import RunSettings, new_settings, read_settings

ABSENT: dict[str, Any] = {"recipe": None, "overrides": (), "seed": None, "init": None}


@pytest.fixture
def files(tmp_path: Path, digits_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what options name, which is the current one."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(digits_file, "teacher.onnx")
    np.savez("data.npz", x=np.zeros((3, 1, 8, 8), np.float32))
    np.save("mask.npy", np.ones(3))
    Path("net.py").write_text("make = None\n")
    Path("mine.yaml").write_text(load_recipe("zskd").to_yaml())
    Path("out").mkdir()
    return tmp_path


def options(**changes: Any) -> dict[str, Any]:
    return {
        **ABSENT,
        "recipe": "mine.yaml",
        "overrides": ("distillation.epochs=7", "synthesis.count=500"),
        "seed": 3,
        "teacher": "teacher.onnx",
        "data": Path("data.npz"),
        "student": "net.py:make",
        "device": "auto",
        "input_range": (0, 16.0),
        "mean": np.array([0.5]),
        "fix": {"mask": Path("mask.npy"), "k": np.array([1, 2])},
        "importer": "native",
        **changes,
    }


def record(**changes: Any) -> RunSettings:
    settings = new_settings(**options(**changes))
    settings.write(Path("out/run.json"))
    return settings


def resume(**changes: Any) -> RunSettings:
    return resumed_settings(Path("out/run.json"), **{**ABSENT, **changes})


def test_settings_survive_on_disk(files: Path) -> None:
    settings = record()
    assert read_settings(Path("out/run.json")) == settings
    assert (settings.recipe.distillation.epochs, settings.recipe.seed) == (7, 3)
    arguments = settings.arguments
    assert arguments["teacher"] == str(files / "teacher.onnx")
    assert arguments["student"] == f"{files / 'net.py'}:make"
    assert arguments["fix"] == {"mask": files / "mask.npy", "k": [1, 2]}
    assert arguments["recipe"] == settings.recipe


def test_two_runs_have_different_names(files: Path) -> None:
    assert record().run != record().run


def test_a_default_recipe_is_left_open(files: Path) -> None:
    """``prepare`` takes another one if the teacher lacks what the default needs."""
    arguments = record(recipe=None).arguments
    assert "recipe" not in arguments
    assert arguments["overrides"] == ["distillation.epochs=7", "synthesis.count=500"]
    assert arguments["seed"] == 3


@pytest.mark.parametrize(
    "given", [{}, {"fix": {}}, options(), {"overrides": ("distillation.epochs=7",)}, {"recipe": "mine.yaml"}]
)
def test_no_option_and_the_same_options_resume(files: Path, given: dict[str, Any]) -> None:
    settings = record()
    assert resume(**given) == settings


def test_a_recipe_object_resumes(files: Path) -> None:
    recipe = load_recipe("zskd")
    settings = record(recipe=recipe, overrides=())
    assert resume(recipe=recipe) == settings
    with pytest.raises(UsageError, match=r"held_out: 200 \(there: 1000\)"):
        resume(recipe=recipe.model_copy(update={"held_out": 200}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": 4}, "--seed 4 (there: 3)"),
        ({"init": "auto"}, "--init auto (there: random)"),
        ({"overrides": ("distillation.epochs=9",)}, "distillation.epochs: 9 (there: 7)"),
        ({"recipe": "mvn"}, "--recipe mvn (there: zskd)"),
        ({"student": "half"}, "--student half (there: "),
        ({"input_range": [0.0, 1.0]}, "--input-range [0.0, 1.0] (there: [0, 16.0])"),
        ({"layout": "NHWC"}, "--layout NHWC (there: none)"),
        ({"importer": "onnx2torch"}, "--importer onnx2torch (there: native)"),
        ({"transfer_set": "other"}, "--transfer-set "),
        ({"fix": {"k": 3}}, "--fix {'k': 3} (there: "),
        ({"eval_data": "data.npz"}, "… (there: none)"),
    ],
)
def test_a_conflict_names_both_values(files: Path, given: dict[str, Any], message: str) -> None:
    record()
    with pytest.raises(UsageError) as error:
        resume(**given)
    assert message in str(error.value)
    assert str(error.value).startswith("out: the run there has other settings: ")
    assert "--overwrite" in str(error.value)


def test_a_run_continues_on_the_device_that_there_is(files: Path) -> None:
    """It is asked for, or the one from before, or the CPU where the machine has no other."""
    record()
    path = Path("out/run.json")
    content = json.loads(path.read_text())
    assert content["options"]["device"] == "cpu" or torch.cuda.is_available()
    content["options"]["device"] = "cuda"
    path.write_text(json.dumps(content))
    assert resume().options["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resume(device="cpu").options["device"] == "cpu"


def test_a_recipe_file_that_changed_is_a_conflict(files: Path) -> None:
    record()
    path = Path("mine.yaml")
    path.write_text(path.read_text().replace("held_out: 1000", "held_out: 300"))
    assert resume().recipe.held_out == 1000
    with pytest.raises(UsageError, match=r"held_out: 300 \(there: 1000\)"):
        resume(recipe="mine.yaml")


def test_a_file_may_move_but_not_change(files: Path) -> None:
    settings = record()
    shutil.move("teacher.onnx", "moved.onnx")
    with pytest.raises(UsageError, match=r"teacher\.onnx: no such file.*give its path"):
        resume()
    moved = resume(teacher="moved.onnx")
    assert moved.options["teacher"] == str(files / "moved.onnx")
    assert moved.run == settings.run
    shutil.copy("moved.onnx", "teacher.onnx")
    with Path("moved.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(
        UsageError, match=r"the teacher \S+moved\.onnx with SHA-256 [0-9a-f]{12}… \(there: \S+ with SHA"
    ):
        resume(teacher="moved.onnx")
    Path("net.py").write_text("make = 1\n")
    with pytest.raises(UsageError, match="the file of --student has changed"):
        resume()


def test_folders_without_a_run(files: Path) -> None:
    for folder, message in (("nothing", "no such folder"), ("out", "holds no run")):
        with pytest.raises(UsageError, match=f"^{folder}: {message}"):
            resumed_settings(Path(folder) / "run.json", **ABSENT)


@pytest.mark.parametrize("damage", ["{", "[]", "{}", "another version", "no recipe"])
def test_damaged_settings(files: Path, damage: str) -> None:
    record()
    path = Path("out/run.json")
    content = json.loads(path.read_text())
    if damage == "another version":
        path.write_text(json.dumps({**content, "schema_version": 99}))
    elif damage == "no recipe":
        path.write_text(json.dumps({**content, "recipe": {"name": "a"}}))
    else:
        path.write_text(damage)
    with pytest.raises(UsageError, match=r"out/run\.json") as error:
        resume()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes", [{"seed": -1}, {"device": "tpu"}, {"teacher": "none.onnx"}, {"data": "none.npz"}, {"recipe": "zksd"}]
)
def test_options_that_do_not_fit(files: Path, changes: dict[str, Any]) -> None:
    with pytest.raises((UsageError, RecipeError)):
        new_settings(**options(**changes))


def test_a_target_is_settled_by_the_student_that_it_gave(files: Path) -> None:
    """Another search might give another student, such as one for a latency on a machine that is busier."""
    settings = record(student=None, target_latency="2ms")
    assert settings.arguments["target_latency"] == "2ms"
    settings.with_student("thin:0.4").write(Path("out/run.json"))
    for repeated in ({}, {"target_latency": "2ms"}, {"student": "thin:0.4"}):
        arguments = resume(**repeated).arguments
        assert arguments["student"] == "thin:0.4"
        assert "target_latency" not in arguments
    with pytest.raises(UsageError, match=r"--target-latency 3ms \(there: 2ms\)"):
        resume(target_latency="3ms")
    with pytest.raises(UsageError, match=r"--target-params 25% \(there: none\)"):
        resume(target_params="25%")
    plain = record()
    assert plain.with_student("cnn") is plain
