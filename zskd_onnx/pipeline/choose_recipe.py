"""The recipe of a run: as it is named, or by the teacher where none is named."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from zskd_onnx.config.files import DEFAULT_RECIPE
from zskd_onnx.config.load import load_recipe
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.config.requirements import FALLBACK_RECIPE, MISSING
from zskd_onnx.errors import RecipeError, UsageError
from zskd_onnx.pipeline.resolve import inference_in_words, lacking
from zskd_onnx.procedural.settings import has_all_kinds
from zskd_onnx.teacher.probes.natural_images import infer_natural_images
from zskd_onnx.teacher.teacher import Teacher

NATURAL_RECIPE, DRAWING_RECIPE = "boundary", "zskd-images"
"""The recipes of a run that names none, for natural images and for drawings of few classes."""

MOST_CLASSES = 30
"""Most classes of drawings that get ``zskd-images``. It is better than ``best`` for ten classes and worse for a hundred."""


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
    teacher: Teacher, overrides: tuple[str, ...] = (), seed: int | None = None, init: str | None = None
) -> tuple[Recipe, list[str]]:
    """The recipe of a run that names none, and why it is not ``best``.

    Images of at least 16 x 16 get ``boundary`` or ``zskd-images``, unless an override changes a field that it lacks. On
    CIFAR-10, ``cnn-small`` reached 71.97 % with ``boundary`` and 69.74 % with ``best``; on Fashion-MNIST, LeNet-5-Half
    87.73 % with ``zskd-images`` and 84.54 % with ``best`` (means of three seeds). Drawings of a hundred classes are better
    with ``best``: 96.45 % and 95.62 %.

    Args:
        overrides, seed, init: see ``prepare``.

    Returns:
        The recipe, and notes for the user.
    """
    best, notes = _with_inference(chosen_recipe(DEFAULT_RECIPE, overrides, seed, init), teacher)
    name = _image_recipe(best, teacher)
    if name is not None:
        with suppress(RecipeError):  # an override changes a field that it lacks
            chosen = chosen_recipe(name, overrides, seed, init)
            if lacking(chosen, teacher) is None:
                inputs = "natural images" if name == NATURAL_RECIPE else "drawings"
                chosen = _with_natural_images(chosen, natural=name == NATURAL_RECIPE)
                return chosen, [f"recipe {name}, for {inputs}", *notes]
    need = lacking(best, teacher)
    if need is None:
        return best, notes
    note = f"recipe {FALLBACK_RECIPE}, because {DEFAULT_RECIPE} needs {MISSING[need]}"
    return chosen_recipe(FALLBACK_RECIPE, overrides, seed, init), [note]


def _image_recipe(best: Recipe, teacher: Teacher) -> str | None:
    """The recipe for the teacher's images, or None: for other inputs, and for drawings of many classes."""
    if best.procedural is None or not has_all_kinds(teacher.domain.shape):
        return None
    if best.procedural.natural_images:
        return NATURAL_RECIPE
    return DRAWING_RECIPE if teacher.classes <= MOST_CLASSES else None


def _with_inference(recipe: Recipe, teacher: Teacher) -> tuple[Recipe, list[str]]:
    """The recipe with what the teacher's predictions say of natural images, and a note, where it leaves that open."""
    if recipe.procedural is None or recipe.procedural.natural_images is not None:
        return recipe, []
    natural = infer_natural_images(teacher)
    if natural is None:
        return recipe, []
    return _with_natural_images(recipe, natural=natural), [inference_in_words(natural=natural)]


def _with_natural_images(recipe: Recipe, *, natural: bool) -> Recipe:
    """The recipe, whose inputs are natural images or are not."""
    assert recipe.procedural is not None
    return recipe.model_copy(update={"procedural": recipe.procedural.model_copy(update={"natural_images": natural})})
