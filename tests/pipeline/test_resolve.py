"""Decisions for a teacher: the recipe of a run that names none, and sizes of students."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from onnx import helper

from tests.conftest import SMALL, Exports, SaveModel
from zskd_onnx import UnsupportedTeacherError, UsageError, compress, prepare


@pytest.fixture
def headless(save_model: SaveModel) -> Path:
    """The scores are the larger of two outputs of the last layer for each class."""
    rng = torch.Generator().manual_seed(0)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], ["pairs"]),
        helper.make_node("Reshape", ["pairs", "shape"], ["p"]),
        helper.make_node("ReduceMax", ["p"], ["y"], axes=[2], keepdims=0),
    ]
    weights = {
        "w": torch.randn(12, 60, generator=rng),
        "v": torch.randn(60, 10, generator=rng),
        "shape": torch.tensor([-1, 5, 2]),
    }
    return save_model(nodes, ["N", 12], ["N", 5], weights)


def test_the_default_falls_back_where_the_teacher_has_no_head(headless: Path, tmp_path: Path) -> None:
    """The note names the recipe and the reason, overrides hold, and the run delivers a student."""
    result = compress(headless, tmp_path / "out", overrides=SMALL[:-1])
    assert any(
        re.match("recipe zskd-uniform, because best needs a final fully connected layer", note) for note in result.notes
    )
    plan = prepare(headless, overrides=SMALL[:-1], seed=3)
    assert (plan.recipe.name, plan.recipe.seed, plan.recipe.distillation.epochs) == ("zskd-uniform", 3, 2)
    assert result.student.is_file()


def test_a_recipe_that_was_named_is_not_replaced(headless: Path, digits_file: Path) -> None:
    for name in ("best", "zskd"):
        with pytest.raises(
            UnsupportedTeacherError, match=f"recipe '{name}' needs a final.*; use --recipe zskd-uniform,"
        ):
            prepare(headless, recipe=name)
    with pytest.raises(UnsupportedTeacherError, match="use --recipe best, or change"):
        prepare(digits_file, recipe="deep-inversion")


def test_an_override_that_causes_a_need_is_an_error(headless: Path) -> None:
    with pytest.raises(UnsupportedTeacherError, match=r"none; change prior\.similarity, which causes this"):
        prepare(headless, overrides=["prior.similarity=true"])
    plan = prepare(headless, overrides=["prior.similarity=false"])
    assert plan.recipe.name == "best"


def test_a_teacher_without_a_smaller_student_ends_the_run_before_it_starts(
    save_model: SaveModel, tmp_path: Path
) -> None:
    """A student that the error names is taken, with a warning."""
    path = save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 3], {"w": torch.randn(4, 3)})
    with pytest.raises(UsageError, match="--student mlp-4") as error:
        compress(path, tmp_path / "out", overrides=SMALL[:-1])
    assert error.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    [note] = [note for note in prepare(path, student="mlp-4").notes if "larger or slower" in note]
    assert "35 parameters and 28 multiply-adds per sample, the teacher 12 parameters and 12" in note
    assert note.endswith("no student that auto picks is smaller")


def test_a_named_student_that_is_larger_or_slower_gets_a_note(digits_file: Path) -> None:
    """vgg-small-half is larger and slower than the teacher, mlp and cnn are neither."""
    for name, expected in (("vgg-small-half", True), ("mlp", False), ("auto", False)):
        plan = prepare(digits_file, student=name)
        notes = [note for note in plan.notes if "larger or slower" in note]
        assert bool(notes) is expected
        assert all(note.endswith("--student cnn is smaller") for note in notes)
        assert plan.to_dict()["student"]["multiply_adds"] == plan.multiply_adds > 0


def test_a_start_from_images_needs_some_that_suit_the_inputs(digits_file: Path) -> None:
    overrides = [f"procedural.{kind}=0" for kind in ("level_lines", "pen_strokes", "objects", "dead_leaves")]
    with pytest.raises(UsageError, match="draws no images for the teacher's inputs, and this run needs some"):
        prepare(digits_file, recipe="boundary", overrides=overrides)


@pytest.fixture
def colour_file(exports: Exports) -> Path:
    """A net of images with three channels and random weights, whose predictions tell nothing of them."""
    return exports.path("resnet", "dynamo")


def test_images_get_their_own_recipe(colour_file: Path) -> None:
    """The notes say so, and how to say the opposite."""
    plan = prepare(colour_file, overrides=["distillation.epochs=3"], seed=4, student="cnn-2")
    assert (plan.recipe.name, plan.recipe.seed, plan.recipe.distillation.epochs) == ("boundary", 4, 3)
    assert plan.recipe.procedural is not None
    assert plan.recipe.procedural.natural_images
    assert "recipe boundary, for natural images" in plan.notes
    [note] = [note for note in plan.notes if "inputs are taken for natural images" in note]
    assert "--set procedural.natural_images=false" in note


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        (None, ["prior.beta=[1.0]"]),  # a field that boundary lacks
        ("best", []),
    ],
)
def test_images_get_best_where_that_is_asked_for(colour_file: Path, recipe: str | None, overrides: list[str]) -> None:
    assert prepare(colour_file, recipe=recipe, overrides=overrides, student="cnn-2").recipe.name == "best"


def test_a_user_says_that_images_are_drawings(colour_file: Path) -> None:
    plan = prepare(colour_file, overrides=["procedural.natural_images=false"], student="cnn-2")
    assert plan.recipe.name == "zskd-images"
    assert plan.images is not None
    assert not plan.images.natural
    assert "inputs are taken for" not in "".join(plan.notes)


def test_drawings_of_many_classes_get_best(save_model: SaveModel) -> None:
    for classes, expected in ((30, "zskd-images"), (31, "best")):
        nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
        path = save_model(nodes, ["N", 1, 16, 16], ["N", classes], {"w": torch.randn(256, classes)})
        plan = prepare(path, student="mlp-2", overrides=["procedural.natural_images=false"], input_range=(0, 1))
        assert plan.recipe.name == expected


def test_the_teacher_is_asked_once(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the default recipe goes by holds for the rest of the plan."""

    def ask(teacher: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr("zskd_onnx.pipeline.resolve.infer_natural_images", ask)
    plan = prepare(exports.path("lenet5", "dynamo"), student="lenet5-half")
    assert plan.recipe.name == "zskd-images"
    assert any("inputs are taken for drawings" in note for note in plan.notes)
