"""The recipe of a run: as it is named, or by the teacher where none is named."""

from __future__ import annotations

from pathlib import Path

from zskd_onnx.config.files import DEFAULT_RECIPE
from zskd_onnx.config.load import load_recipe
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.config.requirements import FALLBACK_RECIPE, MISSING
from zskd_onnx.errors import RecipeError, UsageError
from zskd_onnx.pipeline.resolve import inference_in_words, lacking
from zskd_onnx.teacher.probes.natural_images import infer_natural_images
from zskd_onnx.teacher.teacher import Teacher

NATURAL_RECIPE = "boundary"
"""The recipe of a run that names none, for natural images."""


def chosen_recipe(
    recipe: str | Path | Recipe, overrides: tuple[str, ...], seed: int | None, init: str | None
) -> Recipe:
    """The recipe with the options of the run."""
    if isinstance(recipe, Recipe) and overrides:
        raise UsageError("overrides need a recipe given by name or file; change a Recipe with model_copy(update=...)")
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    if seed is not None:
        if not 0 <= seed < 2**63:
            raise UsageError(f"seed {seed}: expected 0 to 2^63 - 1")
        chosen = chosen.model_copy(update={"seed": seed})
    if init is not None:
        if init not in ("random", "inherit", "auto", "file"):
            raise UsageError(f"init '{init}': expected random, inherit, auto or file")
        chosen = chosen.model_copy(update={"init": init})
    return chosen


def default_recipe(
    best: Recipe, teacher: Teacher, overrides: tuple[str, ...], seed: int | None, init: str | None
) -> tuple[Recipe, list[str]]:
    """The recipe of a run that names none, and why it is not ``best``.

    Natural images get ``boundary``, unless an override changes a field that it lacks. On CIFAR-10, ``cnn-small`` reached
    71.97 % with it and 69.74 % with ``best``, from teachers of 78 %.

    Args:
        best: the default recipe with the other arguments applied.
        overrides, seed, init: see ``prepare``.

    Returns:
        The recipe, and notes for the user.
    """
    best, notes = _with_inference(best, teacher)
    if best.procedural is not None and best.procedural.natural_images:
        try:
            chosen = chosen_recipe(NATURAL_RECIPE, overrides, seed, init)
        except RecipeError:
            return best, notes
        assert chosen.procedural is not None
        known = chosen.procedural.model_copy(update={"natural_images": True})
        return chosen.model_copy(update={"procedural": known}), [f"recipe {NATURAL_RECIPE}, for natural images", *notes]
    need = lacking(best, teacher)
    if need is None:
        return best, notes
    note = f"recipe {FALLBACK_RECIPE}, because {DEFAULT_RECIPE} needs {MISSING[need]}"
    return chosen_recipe(FALLBACK_RECIPE, overrides, seed, init), [note]


def _with_inference(recipe: Recipe, teacher: Teacher) -> tuple[Recipe, list[str]]:
    """The recipe with what the teacher's predictions say of natural images, and a note, where it leaves that open."""
    if recipe.procedural is None or recipe.procedural.natural_images is not None:
        return recipe, []
    natural = infer_natural_images(teacher)
    if natural is None:
        return recipe, []
    known = recipe.procedural.model_copy(update={"natural_images": natural})
    return recipe.model_copy(update={"procedural": known}), [inference_in_words(natural=natural)]
