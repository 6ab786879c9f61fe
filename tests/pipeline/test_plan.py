"""What is settled before a run starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import Exports
from zskd_onnx import Recipe, UsageError, load_recipe, prepare
from zskd_onnx.pipeline.compress import compress


def test_everything_is_resolved(digits_file: Path) -> None:
    plan = prepare(digits_file, overrides=["distillation.epochs=3"], seed=9, student="cnn-small", device="cpu")
    assert plan.recipe.seed == 9
    assert plan.recipe.distillation.epochs == 3
    assert plan.choice.name == "cnn-small"
    assert plan.device == torch.device("cpu")
    assert plan.evaluation is None
    assert any("0 to 16" in note and "file metadata" in note for note in plan.notes)
    assert any("cnn-small" in note for note in plan.notes)


def test_an_assumed_range_is_a_note_of_its_own(exports: Exports) -> None:
    path = exports.path("lenet5", "17")
    assert any("--input-range" in note for note in prepare(path).notes)
    assert not any("--input-range" in note for note in prepare(path, input_range=(0, 1)).notes)


def test_an_estimate_grows_with_the_work(digits_file: Path) -> None:
    small, large = (
        prepare(digits_file, overrides=[f"synthesis.count={n}", "distillation.epochs=20"]).estimate()
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
def test_an_estimate_says_where_it_is_a_bound(
    digits_file: Path, recipe: str, changes: list[str], bounds: tuple[str, ...]
) -> None:
    assert prepare(digits_file, recipe=recipe, overrides=changes).at_most == bounds


def test_students_between_rounds_may_end_early(exports: Exports) -> None:
    patient = ["synthesis.competing_rounds=1", "distillation.patience=3"]
    plan = prepare(exports.path("wrn", "17"), recipe="deep-inversion", overrides=patient)
    assert plan.at_most == ("synthesis", "distillation")


def test_hints_go_with_inheriting_where_that_is_left_to_the_program(exports: Exports) -> None:
    hints = ["distillation.hints=7"]
    for teacher, init, expected in (
        ("lenet5", "auto", 7),
        ("resnet", "auto", 0),
        ("resnet", "fresh", 7),
        ("lenet5", "fresh", 7),
    ):
        plan = prepare(exports.path(teacher, "dynamo"), overrides=hints, init=init)
        assert plan.recipe.distillation.hints == expected
        assert any("without hints" in note for note in plan.notes) is (expected == 0)


def test_a_recipe_object_is_taken_as_it_is(digits_file: Path) -> None:
    recipe = load_recipe("zskd", ["seed=4"])
    plan = prepare(digits_file, recipe=recipe)
    assert isinstance(plan.recipe, Recipe)
    assert plan.recipe == recipe.fitted(plan.teacher, plan.device).model_copy(update={"student": plan.choice.name})


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        ("zskd", ["distillation.mixture={data: 1}"], r"^distillation\.mixture names data.*transfer_set alone.*--data"),
        ("abm", ["distillation.mixture={transfer_set: 1}"], r"^distillation\.mixture.*generator alone"),
        (
            "abm",
            ["fine_tuning.epoch_samples=100", "fine_tuning.mixture={data: 1, transfer_set: 2}"],
            r"^fine_tuning\.mixture names data, transfer_set.*fine_tuning\.mixture=\{generator: 1\}.*--data",
        ),
    ],
)
def test_a_mixture_of_sources_that_are_not_there(
    digits_file: Path, recipe: str, changes: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(digits_file, recipe=recipe, overrides=changes)


def test_a_mixture_may_name_more_than_there_is(digits_file: Path) -> None:
    prepare(digits_file, overrides=["distillation.mixture={data: 1, transfer_set: 1}"])


def test_a_device_that_is_not_there(digits_file: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match="no CUDA device"):
        compress(digits_file, tmp_path / "out", device="cuda")
