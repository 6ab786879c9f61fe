"""Whole runs of recipes that learn from something else than a transfer set, or in stages."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import SMALL, Exports
from zskd_onnx import CompressionResult, UnsupportedTeacherError, UsageError, compress, load_recipe
from zskd_onnx.demo import held_out_digits
from zskd_onnx.events import Event
from zskd_onnx.recipe import recipe_names

GENERATED = ("generator.width=4", "distillation.epochs=1", "distillation.epoch_samples=2560", "held_out=100")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y = held_out_digits()
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, x=x, y=y)
    return path


def weights(result: CompressionResult) -> dict[str, bytes]:
    return {w.name: w.raw_data for w in onnx.load(result.student).graph.initializer}


def small(name: str) -> tuple[str, ...]:
    """Settings with which a run of a recipe takes seconds."""
    recipe, changes = load_recipe(name), ["held_out=100"]
    if recipe.synthesis is not None:
        changes += ["synthesis.count=200", "distillation.epochs=2"]
        changes += [f"synthesis.iterations={n}" for n in [5] if recipe.synthesis.passes]
    else:
        changes += ["distillation.epochs=1", "distillation.epoch_samples=1280"]
    if recipe.generator is not None:
        changes.append("generator.width=4")
    if recipe.fine_tuning is not None:
        changes += ["fine_tuning.epochs=1", "fine_tuning.epoch_samples=1280"]
    return tuple(changes)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_runs(name: str, digits_file: Path, data: Path, exports: Exports, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    if "second_last" in recipe.requires:
        teacher = exports.path("lenet5", "dynamo")
    else:
        teacher = exports.path("wrn", "dynamo") if "batch_norm" in recipe.requires else digits_file
    real = data if "data" in recipe.requires else None
    result = compress(teacher, tmp_path / "out", recipe=name, overrides=small(name), data=real)
    assert result.student.is_file()
    assert not (tmp_path / "out" / "checkpoint.pt").exists()
    manifest = json.loads(result.manifest.read_text())
    stages = {"distillation", "fine-tuning"} if recipe.fine_tuning is not None else {"distillation"}
    assert set(manifest["history"]) == set(manifest["chosen"]) == stages
    assert (tmp_path / "out" / "transfer-set").is_dir() == (recipe.synthesis is not None)
    assert (tmp_path / "out" / "impressions.png").is_file()


def test_the_seed_decides_a_generators_student(digits_file: Path, tmp_path: Path) -> None:
    first, again, other = (
        weights(compress(digits_file, tmp_path / name, recipe="abm", overrides=GENERATED, seed=seed))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert first != other


def test_real_samples_help(digits_file: Path, data: Path, tmp_path: Path) -> None:
    """They stand beside the impressions, and the few of these teach less; contours, with which these do nearly as well, are left out."""
    few = (*SMALL, "distillation.epochs=30", "distillation.batch_size=64", "distillation.augmentation.contours=0")
    agreement = {}
    for name, real in (("alone", None), ("beside", data)):
        result = compress(digits_file, tmp_path / name, overrides=few, data=real, eval_data=data)
        assert result.accuracy is not None
        agreement[name] = result.accuracy.agreement
    assert agreement["beside"] > agreement["alone"] + 0.02


def test_a_student_inherits(exports: Exports, tmp_path: Path) -> None:
    """A student of the teacher's own shape that is hardly trained is the teacher, nearly."""
    short = ("held_out=100", "synthesis.count=100", "synthesis.iterations=5", "distillation.epochs=1")
    teacher, slow = exports.path("lenet5", "dynamo"), "distillation.learning_rate=1e-5"
    found = {
        init: compress(teacher, tmp_path / init, overrides=(*short, slow), student="lenet5", init=init).agreement
        for init in ("fresh", "inherit", "auto")
    }
    assert found["inherit"] == found["auto"] > 0.9
    assert found["fresh"] < 0.6


def test_a_student_inherits_where_nothing_is_stored(exports: Exports, tmp_path: Path) -> None:
    """Noise tells which channels matter, where a generator has yet to learn; the same seed gives the same student."""
    short = (*GENERATED, "distillation.epoch_samples=128", "distillation.learning_rate=1e-5")

    def run(name: str) -> CompressionResult:
        teacher = exports.path("lenet5", "dynamo")
        return compress(teacher, tmp_path / name, recipe="abm", overrides=short, student="lenet5-half", init="inherit")

    first, again = run("first"), run("again")
    assert first.agreement > 0.6
    assert weights(first) == weights(again)


def test_an_init_that_cannot_be(exports: Exports, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot inherit"):
        compress(exports.path("resnet", "dynamo"), tmp_path / "out", overrides=SMALL, init="inherit")
    with pytest.raises(UsageError, match="fresh, inherit or auto"):
        compress(exports.path("resnet", "dynamo"), tmp_path / "out", overrides=SMALL, init="warm")
    assert not (tmp_path / "out").exists()


def test_what_a_teacher_lacks(digits_file: Path, exports: Exports, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTeacherError, match=r"batch normalisation.*recipes that do not: .*abm"):
        compress(exports.path("lenet5", "dynamo"), tmp_path / "out", recipe="deep-inversion")
    with pytest.raises(UsageError, match=r"--data FILE.npz.*zskd"):
        compress(digits_file, tmp_path / "out", recipe="kd")
    with pytest.raises(UsageError, match="no transfer set"):
        compress(digits_file, tmp_path / "out", recipe="abm", transfer_set=tmp_path)
    assert not (tmp_path / "out").exists()


def test_hints_are_left_out_where_there_are_none(digits_file: Path, tmp_path: Path) -> None:
    """A student without a final fully connected layer; the run says so, and is as without."""
    factory = tmp_path / "net.py"
    factory.write_text(
        "import torch\n\ndef make(shape, classes):\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(1, classes, 8), torch.nn.Flatten())\n"
    )
    heard: list[str] = []
    found = [
        weights(
            compress(
                digits_file,
                tmp_path / f"out{hints}",
                overrides=(*SMALL, f"distillation.hints={hints}"),
                student=f"{factory}:make",
                init="fresh",
                listener=lambda event: heard.append(event.text),
            )
        )
        for hints in (0, 10)
    ]
    assert sum("hints are left out: the student has no final fully connected layer" in text for text in heard) == 1
    assert found[0] == found[1]


def test_an_interrupted_training_resumes(digits_file: Path, data: Path, tmp_path: Path) -> None:
    """In the second stage: the first is not trained again, and the student is the uninterrupted one's."""
    changes = small("abm-few-shot")

    def interrupt(event: Event) -> None:
        if event.stage == "fine-tuning" and event.kind == "progress":
            signal.raise_signal(signal.SIGINT)

    options = {"recipe": "abm-few-shot", "overrides": (*changes, "fine_tuning.epoch_samples=5120"), "data": data}
    with pytest.raises(KeyboardInterrupt):
        compress(digits_file, tmp_path / "cut", listener=interrupt, **options)
    assert (tmp_path / "cut" / "checkpoint.pt").is_file()
    assert not (tmp_path / "cut" / "student.onnx").exists()
    stages: list[str] = []
    resumed = compress(digits_file, tmp_path / "cut", resume=True, listener=lambda e: stages.append(e.stage), **options)
    assert "fine-tuning" in stages
    assert "distillation" not in stages
    whole = compress(digits_file, tmp_path / "whole", **options)
    assert weights(resumed) == weights(whole)
    assert (resumed.history, resumed.chosen) == (whole.history, whole.chosen)
