"""Plans of runs: what is decided before a run starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import Exports, export
from zskd_onnx import Recipe, UsageError, load_recipe, prepare
from zskd_onnx.distillation.settings import LossWeights
from zskd_onnx.pipeline.compress import compress
from zskd_onnx.pipeline.estimate import estimate
from zskd_onnx.pipeline.resolve import resolve
from zskd_onnx.students.choose import build
from zskd_onnx.students.describe import parameters
from zskd_onnx.teacher.probes.natural_images import infer_natural_images


def test_plan_has_every_decision(digits_file: Path) -> None:
    plan = prepare(digits_file, overrides=["distillation.epochs=3"], seed=9, student="cnn-small", device="cpu")
    assert plan.recipe.seed == 9
    assert plan.recipe.distillation.epochs == 3
    assert plan.choice.name == plan.recipe.student == "cnn-small"
    assert plan.parameters == parameters(build(plan.choice, (1, 8, 8), 10, 9))
    assert not plan.pruned
    assert plan.device == torch.device("cpu")
    assert plan.evaluation is None
    assert any("0 to 16" in note and "file metadata" in note for note in plan.notes)
    assert any("cnn-small" in note for note in plan.notes)


def test_assumed_input_range_has_a_note(exports: Exports, tmp_path: Path) -> None:
    network, path = exports.network("lenet5"), tmp_path / "teacher.onnx"
    export(network.module, network.shape, path, "17", fixed=False)
    assert any("--input-range" in note for note in prepare(path).notes)
    assert not any("assumed" in note for note in prepare(path, input_range=(0, 1)).notes)


def test_estimate_grows_with_the_work(digits_file: Path) -> None:
    small, large = (
        estimate(prepare(digits_file, overrides=[f"synthesis.count={n}", "distillation.epochs=20"]), 1.0).seconds
        for n in (1000, 100_000)
    )
    assert large["synthesis"] > 5 * small["synthesis"] > 0
    assert large["distillation"] > 5 * small["distillation"] > 0


@pytest.mark.parametrize(
    ("recipe", "changes", "bounds"),
    [
        ("zskd", [], ()),
        ("noise", [], ()),
        ("class-impressions", [], ("synthesis",)),
        ("class-impressions", ["synthesis.confidence=null"], ()),
        ("class-impressions", ["distillation.patience=3"], ("synthesis", "distillation")),
        ("zskd", ["fine_tuning.patience=3"], ("fine-tuning",)),
    ],
)
def test_estimate_names_stages_that_are_upper_bounds(
    digits_file: Path, recipe: str, changes: list[str], bounds: tuple[str, ...]
) -> None:
    assert estimate(prepare(digits_file, recipe=recipe, overrides=changes), 0.1).at_most == bounds


def test_estimate_of_competing_rounds_with_patience(exports: Exports) -> None:
    """Training between the rounds may end early, so the duration of synthesis is an upper bound too."""
    patient = ["synthesis.competing_rounds=1", "distillation.patience=3"]
    plan = prepare(exports.path("wrn", "17"), recipe="deep-inversion", overrides=patient)
    assert estimate(plan, 0.1).at_most == ("synthesis", "distillation")


def test_estimate_without_synthesis(exports: Exports) -> None:
    """The work of a procedural run is that of its epochs."""
    small, large = (
        estimate(
            prepare(
                exports.path("lenet5", "dynamo"), recipe="procedural", overrides=[f"distillation.epoch_samples={count}"]
            ),
            1.0,
        )
        for count in (1280, 128_000)
    )
    assert small.at_most == ()
    assert set(small.seconds) == {"distillation"}
    assert large.seconds["distillation"] > 20 * small.seconds["distillation"] > 0


def test_feature_distillation_with_automatic_initialisation(exports: Exports) -> None:
    """``init: auto`` leaves it out where the student is not pruned from the teacher."""
    for teacher, student, init, expected in (
        ("lenet5", "lenet5-half", "auto", 7),
        ("resnet", "cnn-small", "auto", 0),
        ("resnet", "cnn-small", "random", 7),
        ("lenet5", "lenet5-half", "random", 7),
    ):
        overrides = ["distillation.loss_weights.features=7"]
        plan = prepare(exports.path(teacher, "dynamo"), overrides=overrides, init=init, student=student)
        assert plan.recipe.distillation.loss_weights.features == expected
        assert any("without feature distillation" in note for note in plan.notes) is (expected == 0)
        assert plan.pruned is (teacher == "lenet5" and init == "auto")


def test_automatic_initialisation_keeps_other_loss_weights(exports: Exports) -> None:
    overrides = [
        *(
            "distillation.loss_weights={labels: 0.5, features: 7}",
            "fine_tuning.loss_weights={attention: 2, features: 3}",
        ),
        "fine_tuning.epochs=1",
    ]
    recipe = prepare(exports.path("resnet", "dynamo"), overrides=overrides, init="auto", student="cnn-small").recipe
    assert recipe.fine_tuning is not None
    assert recipe.distillation.loss_weights == LossWeights(labels=0.5)
    assert recipe.fine_tuning.loss_weights == LossWeights(labels=0.5, attention=2.0)


def test_recipe_object_is_used_as_it_is(digits_file: Path) -> None:
    """Only what depends on teacher and device is decided; resolving the result again changes nothing."""
    recipe = load_recipe("zskd", ["seed=4", "student=cnn"])
    plan = prepare(digits_file, recipe=recipe)
    assert isinstance(plan.recipe, Recipe)
    assert recipe.synthesis is not None
    decisions = {
        "synthesis": recipe.synthesis.fitted(plan.teacher, plan.device),
        "distillation": recipe.distillation.for_shape(plan.teacher.domain.shape),
    }
    assert plan.recipe == recipe.model_copy(update=decisions)
    assert resolve(plan.recipe, plan.teacher, plan.device, None, data=False).recipe == plan.recipe


@pytest.mark.parametrize("choice", [None, "true", "false"])
def test_natural_images_are_decided(exports: Exports, choice: str | None) -> None:
    """Inferred from the teacher with a note that gives the setting for the other case, or as the recipe says."""
    overrides = [] if choice is None else [f"procedural.natural_images={choice}"]
    plan = prepare(exports.path("lenet5", "dynamo"), recipe="procedural", overrides=overrides)
    assert plan.recipe.procedural is not None
    natural = plan.recipe.procedural.natural_images
    notes = [note for note in plan.notes if "inputs are taken for" in note]
    if choice is None:
        assert natural is infer_natural_images(plan.teacher)
        [note] = notes
        assert f"inputs are taken for {'natural images' if natural else 'drawings'}" in note
        assert note.endswith(f"--set procedural.natural_images={'false' if natural else 'true'}")
    else:
        assert natural is (choice == "true")
        assert not notes


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        (
            "zskd",
            ["distillation.mixture={data: 1}"],
            r"^distillation\.mixture names data.*of this run are transfer_set, procedural;.*--data",
        ),
        (
            "abm",
            ["distillation.mixture={transfer_set: 1}"],
            r"^distillation\.mixture.*of this run are procedural, generator;",
        ),
        (
            "abm",
            ["fine_tuning.epoch_samples=100", "fine_tuning.mixture={data: 1, transfer_set: 2}"],
            r"^fine_tuning\.mixture names data, transfer_set.*fine_tuning\.mixture=\{procedural: 1\}.*--data",
        ),
    ],
)
def test_mixture_without_a_source_of_the_run(digits_file: Path, recipe: str, changes: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(digits_file, recipe=recipe, overrides=changes)


def test_mixture_may_name_more_sources_than_the_run_has(digits_file: Path) -> None:
    prepare(digits_file, overrides=["distillation.mixture={data: 1, transfer_set: 1}"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is available")
def test_device_that_is_unavailable(digits_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no CUDA device"):
        compress(digits_file, tmp_path / "out", device="cuda")


def test_a_target_chooses_a_thinned_teacher(digits_file: Path) -> None:
    """The recipe of the plan repeats the run without another search."""
    plan = prepare(digits_file, target_params="25%")
    assert plan.choice.name == plan.recipe.student == "thin:0.5"
    assert plan.parameters <= 0.25 * plan.teacher.parameters_count
    trade = "thin:0.5 of the teacher's widths: 7,666 parameters, the target is 8,001 (25% of the teacher)"
    assert trade in plan.notes
    again = resolve(plan.recipe, plan.teacher, plan.device, None, data=False)
    assert (again.choice.name, again.size.parameters) == ("thin:0.5", plan.parameters)


@pytest.mark.parametrize(
    ("overrides", "weight"),
    [
        (["procedural.natural_images=true"], 20.0),
        (["procedural.natural_images=false"], 0.0),
        (["procedural.natural_images=false", "distillation.loss_weights.blocks=3"], 3.0),
        (["procedural=null"], 0.0),
    ],
)
def test_blocks_are_matched_for_natural_images(exports: Exports, overrides: list[str], weight: float) -> None:
    """The net for digits of one channel is taken for one of drawings where nothing else is said."""
    plan = prepare(exports.path("lenet5", "dynamo"), recipe="best", student="thin:0.5", overrides=overrides)
    assert plan.recipe.distillation.loss_weights.blocks == weight
    assert plan.recipe.distillation.loss_weights.features == 0  # students that are ONNX graphs have no such term


def test_targets_exclude_each_other_and_a_student(tmp_path: Path) -> None:
    """They are read before any file is."""
    with pytest.raises(UsageError, match="--target-params and --target-macs exclude each other"):
        prepare(tmp_path / "missing.onnx", target_params="1k", target_macs="1M")
    with pytest.raises(UsageError, match="--target-size and --student exclude each other"):
        compress(tmp_path / "missing.onnx", tmp_path / "out", student="cnn", target_size="1kB")
