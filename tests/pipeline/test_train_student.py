"""Whole runs of every recipe: other sources of samples than a transfer set, and several stages."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from tests.conftest import SMALL, Exports, SaveModel, export
from zskd_onnx import CompressionResult, UnsupportedTeacherError, UsageError, compress, load_recipe, prepare
from zskd_onnx.config.files import recipe_names
from zskd_onnx.data.transfer_set import Samples, TransferSet
from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.distillation.batches import Sources, StoredSamples
from zskd_onnx.events import Event
from zskd_onnx.pipeline.training_samples import held_out_images, split_samples, stage_sources
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.teacher.teacher import Teacher

GENERATED = ("generator.width=4", "distillation.epochs=1", "distillation.epoch_samples=2560", "held_out=100")


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
def test_every_recipe_runs(name: str, digits_file: Path, digits_data: Path, exports: Exports, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    if "penultimate" in recipe.needs:
        teacher = exports.path("lenet5", "dynamo")
    else:
        teacher = exports.path("wrn", "dynamo") if "batch_norm" in recipe.needs else digits_file
    real = digits_data if "data" in recipe.requires else None
    # The wide ResNet has random weights, so it predicts few classes.
    result = compress(teacher, tmp_path / "out", recipe=name, overrides=small(name), data=real, allow_degenerate=True)
    assert result.student.is_file()
    assert not (tmp_path / "out" / "checkpoint.pt").exists()
    manifest = json.loads(result.manifest.read_text())
    stages = {"distillation", "fine-tuning"} if recipe.fine_tuning is not None else {"distillation"}
    assert set(manifest["history"]) == set(manifest["chosen"]) == stages
    assert (tmp_path / "out" / "transfer-set").is_dir() == (recipe.synthesis is not None)
    assert (tmp_path / "out" / "impressions.png").is_file()


def test_student_of_a_generator_depends_on_the_seed_only(digits_file: Path, tmp_path: Path) -> None:
    short = (*GENERATED, "distillation.epoch_samples=640")
    first, again, other = (
        weights(compress(digits_file, tmp_path / name, recipe="abm", overrides=short, seed=seed))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert first != other


def test_real_samples_help(digits_file: Path, digits_data: Path, tmp_path: Path) -> None:
    """Beside few impressions; without procedural images, with which the student is nearly as good."""
    few = (*SMALL, "distillation.epochs=15", "distillation.batch_size=64", "procedural=null")
    agreement = {}
    for name, real in (("impressions", None), ("impressions-and-data", digits_data)):
        result = compress(digits_file, tmp_path / name, overrides=few, data=real, eval_data=digits_data)
        assert result.accuracy is not None
        agreement[name] = result.accuracy.agreement
    assert agreement["impressions-and-data"] > agreement["impressions"] + 0.02


def test_pruned_initialisation(exports: Exports, tmp_path: Path) -> None:
    """A student of the teacher's architecture is nearly the teacher before it is trained."""
    short = ("held_out=100", "synthesis.count=100", "synthesis.iterations=5", "distillation.epochs=1")
    teacher, slow = exports.path("lenet5", "dynamo"), "distillation.learning_rate=1e-5"
    agreement = {
        init: compress(teacher, tmp_path / init, overrides=(*short, slow), student="lenet5", init=init).agreement
        for init in ("random", "inherit", "auto")
    }
    assert agreement["inherit"] == agreement["auto"] > 0.9
    assert agreement["random"] < 0.6


def test_pruned_initialisation_without_stored_samples(exports: Exports, tmp_path: Path) -> None:
    """Channels are judged on noise, because the generator is not trained yet; equal seeds give equal students."""
    short = (*GENERATED, "distillation.epoch_samples=128", "distillation.learning_rate=1e-5")

    def run(name: str) -> CompressionResult:
        teacher = exports.path("lenet5", "dynamo")
        return compress(teacher, tmp_path / name, recipe="abm", overrides=short, student="lenet5-half", init="inherit")

    first, again = run("first"), run("again")
    assert first.agreement > 0.6
    assert weights(first) == weights(again)


def test_bad_initialisation(exports: Exports, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot start from the teacher's channels: .*--init random"):
        compress(exports.path("resnet", "dynamo"), tmp_path / "out", overrides=SMALL, init="inherit")
    with pytest.raises(UsageError, match="random, inherit, auto or file"):
        compress(exports.path("resnet", "dynamo"), tmp_path / "out", overrides=SMALL, init="warm")
    assert not (tmp_path / "out").exists()


def test_requirements_of_recipes(digits_file: Path, exports: Exports, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTeacherError, match=r"batch-normalisation statistics.*use --recipe \S+"):
        compress(exports.path("lenet5", "dynamo"), tmp_path / "out", recipe="deep-inversion")
    with pytest.raises(UsageError, match=r"--data FILE.npz.*zskd"):
        compress(digits_file, tmp_path / "out", recipe="kd")
    with pytest.raises(UsageError, match="uses no transfer set"):
        compress(digits_file, tmp_path / "out", recipe="abm", transfer_set=tmp_path)
    assert not (tmp_path / "out").exists()


def test_feature_distillation_is_left_out_without_features(digits_file: Path, tmp_path: Path) -> None:
    """For a student without a final fully connected layer, with a note; the student is that of weight 0."""
    factory = tmp_path / "net.py"
    factory.write_text(
        "import torch\n\ndef make(shape, classes):\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(1, classes, 8), torch.nn.Flatten())\n"
    )
    messages: list[str] = []
    without, with_weight = (
        weights(
            compress(
                digits_file,
                tmp_path / f"out{weight}",
                overrides=(*SMALL, f"distillation.loss_weights.features={weight}"),
                student=f"{factory}:make",
                init="random",
                listener=lambda event: messages.append(event.text),
            )
        )
        for weight in (0, 10)
    )
    note = "feature distillation is left out: the student has no final fully connected layer"
    assert sum(note in message for message in messages) == 1
    assert without == with_weight


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("abm-few-shot", (*small("abm-few-shot"), "fine_tuning.epoch_samples=5120")),
        ("zskd", (*small("zskd"), "fine_tuning.epochs=20", "fine_tuning.optimiser=sgd", "fine_tuning.schedule=steps")),
    ],
)
def test_training_that_is_interrupted_in_the_second_stage_resumes(
    digits_file: Path, digits_data: Path, tmp_path: Path, name: str, changes: tuple[str, ...]
) -> None:
    """The first stage is not trained again, and the student is that of an uninterrupted run."""

    def interrupt(event: Event) -> None:
        if event.stage == "fine-tuning" and event.kind == "progress":
            signal.raise_signal(signal.SIGINT)

    options = {"recipe": name, "overrides": changes, "data": digits_data if name == "abm-few-shot" else None}
    with pytest.raises(KeyboardInterrupt):
        compress(digits_file, tmp_path / "cut", listener=interrupt, **options)
    assert (tmp_path / "cut" / "checkpoint.pt").is_file()
    assert not (tmp_path / "cut" / "student.onnx").exists()
    stages: list[str] = []

    def listen(event: Event) -> None:
        if event.kind == "progress":
            stages.append(event.stage)

    resumed = compress(digits_file, tmp_path / "cut", resume=True, listener=listen, **options)
    assert "fine-tuning" in stages
    assert "distillation" not in stages
    whole = compress(digits_file, tmp_path / "whole", **options)
    assert weights(resumed) == weights(whole)
    assert (resumed.history, resumed.chosen) == (whole.history, whole.chosen)


@pytest.mark.parametrize("name", ["abm", "dafl"])
def test_generators_of_volumes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6 * 6, 3))
    export(net, (1, 8, 8, 8), tmp_path / "volumes.onnx", "17", fixed=False)
    short = (*GENERATED, "distillation.epoch_samples=256", "distillation.batch_size=32")
    result = compress(tmp_path / "volumes.onnx", tmp_path / "out", recipe=name, overrides=short, student="cnn-small")
    assert result.student.is_file()


@pytest.mark.parametrize("name", ["abm", "kd-at"])
def test_attention_transfer_is_left_out_without_activation_maps(
    name: str, save_model: SaveModel, tmp_path: Path
) -> None:
    w = torch.randn(13, 3, generator=torch.Generator().manual_seed(0))
    path = save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 13], ["N", 3], {"w": w})
    np.savez(tmp_path / "real.npz", x=np.random.default_rng(0).random((60, 13), np.float32), y=np.arange(60) % 3)
    messages: list[str] = []
    compress(
        path,
        tmp_path / "out",
        recipe=name,
        student="mlp-small",
        overrides=small(name),
        data=tmp_path / "real.npz" if name == "kd-at" else None,
        listener=lambda event: messages.append(event.text),
    )
    note = "attention transfer is left out: the teacher has no activation map"
    assert sum(note in message for message in messages) == 1


@pytest.mark.parametrize("count", [2, 5, 39])
def test_few_real_samples(count: int, digits_file: Path, digits_data: Path, tmp_path: Path) -> None:
    with np.load(digits_data) as file:
        np.savez(tmp_path / "few.npz", x=file["x"][:count], y=file["y"][:count])
    changes = ("distillation.epochs=2",)
    result = compress(digits_file, tmp_path / "out", recipe="kd", overrides=changes, data=tmp_path / "few.npz")
    assert result.student.is_file()


def test_fine_tuning_that_does_not_improve_the_student_is_discarded(
    finished: CompressionResult, digits_file: Path, tmp_path: Path
) -> None:
    changes = ["fine_tuning.learning_rate=10", "fine_tuning.schedule=constant", "fine_tuning.validations=3"]
    tuned = compress(digits_file, tmp_path / "tuned", overrides=[*SMALL, *changes])
    history = tuned.history["fine-tuning"]
    assert history[0]["step"] == 0
    assert len(history) == 4
    assert tuned.chosen["fine-tuning"] == 0
    assert weights(tuned) == weights(finished)


def test_each_stage_has_its_own_order_of_samples(digits: Teacher) -> None:
    x = torch.rand((96, 1, 8, 8), generator=torch.Generator().manual_seed(0)).half()
    sources, student = Sources((StoredSamples("transfer_set", x, None, 32),)), nn.Flatten()
    student.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    first, again, tuned = (
        torch.cat(
            [
                b.x
                for b in sources.batches(range(3), 3, TeacherView(digits), Augmentation(fraction=0), 0, student, stage)
            ]
        )
        for stage in ("distillation", "distillation", "fine-tuning")
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, tuned)
    assert torch.equal(first.flatten(1).sort(0).values, tuned.flatten(1).sort(0).values)


def test_samples_of_a_generator_select_no_student(digits_file: Path, digits_data: Path, tmp_path: Path) -> None:
    """Neither does fine-tuning; without validations the generator makes held-out samples at the end."""
    changes = (*small("abm-few-shot"), "fine_tuning.validations=5", "distillation.validations=0")
    result = compress(digits_file, tmp_path / "out", recipe="abm-few-shot", overrides=changes, data=digits_data)
    assert len(result.history["fine-tuning"]) == 5
    assert result.chosen["fine-tuning"] == result.history["fine-tuning"][-1]["step"]


def test_resume_after_training_does_not_train_again(
    finished: CompressionResult, digits_file: Path, tmp_path: Path
) -> None:
    def interrupt(event: Event) -> None:
        if event.stage == "distillation" and event.kind == "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(digits_file, tmp_path / "cut", overrides=SMALL, listener=interrupt)
    progress: list[Event] = []
    resumed = compress(digits_file, tmp_path / "cut", overrides=SMALL, resume=True, listener=progress.append)
    assert not [event for event in progress if event.stage == "distillation" and event.completed < event.total]
    assert weights(resumed) == weights(finished)


def test_resume_with_other_real_samples_is_refused(digits_file: Path, digits_data: Path, tmp_path: Path) -> None:
    """The same samples in another file are accepted."""
    shutil.copy(digits_data, tmp_path / "copy.npz")
    with np.load(digits_data) as file:
        np.savez(tmp_path / "other.npz", x=file["x"][::-1], y=file["y"][::-1])
    changes = ("distillation.epochs=20",)

    def interrupt(event: Event) -> None:
        if event.kind == "progress":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        compress(digits_file, tmp_path / "cut", recipe="kd", overrides=changes, data=digits_data, listener=interrupt)
    with pytest.raises(UsageError, match=r"--data \S+other\.npz with SHA-256 .*\(there: \S+digits\.npz with"):
        compress(digits_file, tmp_path / "cut", resume=True, data=tmp_path / "other.npz")
    resumed = compress(digits_file, tmp_path / "cut", resume=True, data=tmp_path / "copy.npz")
    whole = compress(digits_file, tmp_path / "whole", recipe="kd", overrides=changes, data=digits_data)
    assert weights(resumed) == weights(whole)


PROCEDURAL = (
    "held_out=100",
    "distillation.epochs=1",
    "distillation.epoch_samples=1280",
    "distillation.validations=4",
)
"""Settings with which a run of recipe "procedural" takes seconds."""


def test_procedural_images_alone(exports: Exports, tmp_path: Path) -> None:
    """A whole run without stored samples; equal seeds give equal students."""
    teacher = exports.path("lenet5", "dynamo")
    options = {"recipe": "procedural", "student": "lenet5-half", "overrides": PROCEDURAL}
    first, again, other = (
        compress(teacher, tmp_path / name, seed=seed, **options)
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    folder = first.student.parent
    names = {"student.onnx", "manifest.json", "recipe.yaml", "run.json", "events.jsonl", "metrics.csv"}
    names |= {"impressions.png", "class_similarity.png", "report.html", "report.npz", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    assert 0.5 < first.agreement <= 1
    assert len(first.history["distillation"]) == 4
    assert set(first.seconds) == {"teacher", "synthesis", "distillation", "deployment"}
    assert weights(first) == weights(again)
    assert weights(first) != weights(other)
    resolved = load_recipe(folder / "recipe.yaml")
    assert resolved.procedural is not None
    assert resolved.procedural.natural_images is not None  # so that repeating the run does not infer it again
    assert weights(compress(teacher, tmp_path / "resolved", recipe=folder / "recipe.yaml")) == weights(first)


def test_held_out_images_of_a_procedural_run_are_not_trained_on(exports: Exports, tmp_path: Path) -> None:
    plan = prepare(exports.path("lenet5", "dynamo"), recipe="procedural", overrides=PROCEDURAL, student="lenet5-half")
    stored, held_out = split_samples(plan, None)
    assert stored == []
    assert held_out.shape == (100, 1, 28, 28)
    assert torch.equal(held_out, held_out_images(plan, 100))
    assert len({image.numpy().tobytes() for image in held_out}) == 100
    settings = plan.recipe.distillation
    view = TeacherView(plan.teacher)
    sources = stage_sources(plan, stored, settings, view, 2, None)
    assert sources.procedural_share == 1
    student = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    plain = settings.augmentation.model_copy(update={"fraction": 0.0})
    trained_on = {
        image.half().numpy().tobytes()
        for batch in sources.batches(range(2), 2, view, plain, plan.recipe.seed, student)
        for image in batch.x
    }
    assert len(trained_on) == 2 * settings.batch_size
    assert not trained_on & {image.numpy().tobytes() for image in held_out}


@pytest.mark.parametrize("mixture", [{"procedural": 1}, {"transfer_set": 1, "procedural": 3}])
def test_mixture_with_procedural_images(digits_file: Path, tmp_path: Path, mixture: dict[str, int]) -> None:
    """The mixture decides the share of a batch, in place of section ``procedural``."""
    overrides = (*SMALL, f"distillation.mixture={json.dumps(mixture)}")
    plan = prepare(digits_file, overrides=overrides)
    samples = Samples(torch.rand((400, 1, 8, 8)).half(), torch.rand((400, 10)))
    stored, _ = split_samples(plan, samples)
    sources = stage_sources(plan, stored, plan.recipe.distillation, TeacherView(plan.teacher), 2, None)
    share = mixture["procedural"] / sum(mixture.values())
    assert sources.procedural_share == share != plan.recipe.procedural.share((1, 8, 8))
    assert [part.size for part in sources.stored] == [32] * (len(mixture) - 1)

    assert compress(digits_file, tmp_path / "out", overrides=overrides).student.is_file()
    assert TransferSet.open(tmp_path / "out" / "transfer-set").count == 400


def test_vectors_have_no_procedural_images(save_model: SaveModel, tmp_path: Path) -> None:
    w = torch.randn(13, 3, generator=torch.Generator().manual_seed(0))
    path = save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 13], ["N", 3], {"w": w})
    with pytest.raises(UnsupportedTeacherError) as error:
        compress(path, tmp_path / "out", recipe="procedural", overrides=PROCEDURAL)
    assert error.value.exit_code == 3
    message = str(error.value)
    assert f"{path}: recipe 'procedural' needs images, sequences or volumes, and the teacher takes vectors" in message
    assert message.endswith("use --recipe best, or change procedural, which causes this")
    with pytest.raises(
        UsageError, match=r"^distillation\.mixture names procedural.*samples of this run are transfer_set"
    ):
        compress(
            path, tmp_path / "out", overrides=(*SMALL, "distillation.mixture={procedural: 1}"), student="mlp-small"
        )
    assert not (tmp_path / "out").exists()


def test_procedural_images_without_a_share(exports: Exports, tmp_path: Path) -> None:
    shares = ("procedural.level_lines=0", "procedural.pen_strokes=0", "procedural.natural_images=false")
    with pytest.raises(UsageError, match=r"draws no images for the teacher's inputs.*procedural\.level_lines"):
        compress(
            exports.path("lenet5", "dynamo"), tmp_path / "out", recipe="procedural", overrides=(*PROCEDURAL, *shares)
        )
    assert not (tmp_path / "out").exists()
