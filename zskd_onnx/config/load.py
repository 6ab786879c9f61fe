"""Loading a recipe: file, old names of keys, overrides, validation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from zskd_onnx.config.content import read_content
from zskd_onnx.config.faults import describe_faults
from zskd_onnx.config.recipe import Recipe


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A built-in recipe or a YAML file, with overrides.

    Args:
        name_or_path: "best", "zskd" and so on, or a path; ".yaml" may be left out.
        overrides: "distillation.epochs=50" and the like; the value is read as YAML.

    Raises:
        RecipeError: no such recipe, or it does not validate; the message lists every fault.
    """
    content = read_content(name_or_path, overrides)
    try:
        return Recipe.model_validate(content.values)
    except ValidationError as error:
        raise content.error(describe_faults(error, content.values)) from error
