"""Whole runs of recipes that learn from something else than a transfer set, or in stages."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from tests.conftest import SMALL, Exports, SaveModel, export
from zskd_onnx import CompressionResult, UnsupportedTeacherError, UsageError, compress, load_recipe
from zskd_onnx.config.files import recipe_names
from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.distillation.batches import Sources, Stored
from zskd_onnx.events import Event
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.teacher.probes.outputs import Asking
from zskd_onnx.teacher.teacher import Teacher

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
    if "second_last" in recipe.needs:
        teacher = exports.path("lenet5", "dynamo")
    else:
        teacher = exports.path("wrn", "dynamo") if "batch_norm" in recipe.needs else digits_file
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
    """They stand beside the impressions, and the few of these teach less; lines, with which these do nearly as well, are left out."""
    lines = ("distillation.augmentation.contours=0", "distillation.augmentation.strokes=0")
    few = (*SMALL, "distillation.epochs=30", "distillation.batch_size=64", *lines)
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


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("abm-few-shot", (*small("abm-few-shot"), "fine_tuning.epoch_samples=5120")),
        ("zskd", (*small("zskd"), "fine_tuning.epochs=20", "fine_tuning.optimiser=sgd", "fine_tuning.schedule=steps")),
    ],
)
def test_an_interrupted_training_resumes(
    digits_file: Path, data: Path, tmp_path: Path, name: str, changes: tuple[str, ...]
) -> None:
    """In the second stage: the first is not trained again, and the student is the uninterrupted one's."""

    def interrupt(event: Event) -> None:
        if event.stage == "fine-tuning" and event.kind == "progress":
            signal.raise_signal(signal.SIGINT)

    options = {"recipe": name, "overrides": changes, "data": data if name == "abm-few-shot" else None}
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


@pytest.mark.parametrize("name", ["abm", "dafl"])
def test_generators_make_volumes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6 * 6, 3))
    export(net, (1, 8, 8, 8), tmp_path / "volumes.onnx", "17", fixed=False)
    short = (*GENERATED, "distillation.epoch_samples=256", "distillation.batch_size=32")
    assert compress(tmp_path / "volumes.onnx", tmp_path / "out", recipe=name, overrides=short).student.is_file()


@pytest.mark.parametrize("name", ["abm", "kd-at"])
def test_attention_is_left_out_where_there_are_no_maps(name: str, save_model: SaveModel, tmp_path: Path) -> None:
    w = torch.randn(13, 3, generator=torch.Generator().manual_seed(0))
    path = save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 13], ["N", 3], {"w": w})
    np.savez(tmp_path / "real.npz", x=np.random.default_rng(0).random((60, 13), np.float32), y=np.arange(60) % 3)
    heard: list[str] = []
    compress(
        path,
        tmp_path / "out",
        recipe=name,
        overrides=small(name),
        data=tmp_path / "real.npz" if name == "kd-at" else None,
        listener=lambda event: heard.append(event.text),
    )
    assert sum("attention transfer is left out: the teacher has no activation map" in text for text in heard) == 1


@pytest.mark.parametrize("count", [2, 5, 39])
def test_a_few_real_samples_are_enough(count: int, digits_file: Path, data: Path, tmp_path: Path) -> None:
    with np.load(data) as file:
        np.savez(tmp_path / "few.npz", x=file["x"][:count], y=file["y"][:count])
    changes = ("distillation.epochs=2",)
    result = compress(digits_file, tmp_path / "out", recipe="kd", overrides=changes, data=tmp_path / "few.npz")
    assert result.student.is_file()


def test_fine_tuning_that_does_harm_changes_nothing(digits_file: Path, tmp_path: Path) -> None:
    plain, tuned = (
        compress(digits_file, tmp_path / name, overrides=[*SMALL, *changes])
        for name, changes in (
            ("plain", []),
            ("tuned", ["fine_tuning.learning_rate=10", "fine_tuning.schedule=constant", "fine_tuning.checks=3"]),
        )
    )
    history = tuned.history["fine-tuning"]
    assert history[0]["step"] == 0
    assert len(history) == 4
    assert tuned.chosen["fine-tuning"] == 0
    assert weights(tuned) == weights(plain)


def test_stages_see_samples_in_orders_of_their_own(digits: Teacher) -> None:
    x = torch.rand((96, 1, 8, 8), generator=torch.Generator().manual_seed(0)).half()
    sources, student = Sources((Stored("transfer_set", x, None, 32),), None), nn.Flatten()
    student.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    first, again, tuned = (
        torch.cat(
            [b.x for b in sources.batches(range(3), 3, Asking(digits), Augmentation(fraction=0), 0, student, stage)]
        )
        for stage in ("distillation", "distillation", "fine-tuning")
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, tuned)
    assert torch.equal(first.flatten(1).sort(0).values, tuned.flatten(1).sort(0).values)


def test_what_a_generator_made_last_chooses_nothing(digits_file: Path, data: Path, tmp_path: Path) -> None:
    """Nor do its samples in fine-tuning; without checks it makes some at the end."""
    changes = (*small("abm-few-shot"), "fine_tuning.checks=5", "distillation.checks=0")
    result = compress(digits_file, tmp_path / "out", recipe="abm-few-shot", overrides=changes, data=data)
    assert len(result.history["fine-tuning"]) == 5
    assert result.chosen["fine-tuning"] == result.history["fine-tuning"][-1]["step"]


def test_a_run_that_ends_after_its_training_does_not_train_again(digits_file: Path, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if event.stage == "distillation" and event.kind == "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(digits_file, tmp_path / "cut", overrides=SMALL, listener=interrupt)
    progress: list[Event] = []
    resumed = compress(digits_file, tmp_path / "cut", overrides=SMALL, resume=True, listener=progress.append)
    assert not [event for event in progress if event.stage == "distillation" and event.kind == "progress"]
    assert weights(resumed) == weights(compress(digits_file, tmp_path / "whole", overrides=SMALL))


def test_a_training_on_other_samples_is_another(digits_file: Path, data: Path, tmp_path: Path) -> None:
    with np.load(data) as file:
        np.savez(tmp_path / "other.npz", x=file["x"][::-1], y=file["y"][::-1])
    changes = ("distillation.epochs=20",)

    def interrupt(event: Event) -> None:
        if event.kind == "progress":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        compress(digits_file, tmp_path / "cut", recipe="kd", overrides=changes, data=data, listener=interrupt)
    given = {"recipe": "kd", "overrides": changes, "data": tmp_path / "other.npz"}
    resumed = compress(digits_file, tmp_path / "cut", resume=True, **given)
    assert weights(resumed) == weights(compress(digits_file, tmp_path / "whole", **given))
