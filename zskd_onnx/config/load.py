"""Loading a recipe: file, old names of keys, overrides, validation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from zskd_onnx.config.files import parse_yaml, read_recipe
from zskd_onnx.config.recipe import SECTIONS_WITH_KINDS, Recipe
from zskd_onnx.config.renamed import rename, rename_keys, set_key
from zskd_onnx.errors import RecipeError


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A built-in recipe or a YAML file, with overrides.

    Args:
        name_or_path: "best", "zskd" and so on, or a path that ends in .yaml or .yml.
        overrides: "distillation.epochs=50" and the like; the value is read as YAML.

    Raises:
        RecipeError: no such recipe, or it does not validate; the message lists every fault.
    """
    content, where = read_recipe(name_or_path)
    rename_keys(content, where)
    for override in overrides:
        _apply(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_faults(error)}") from error


def _apply(content: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not all(name.strip().split(".")):
        raise RecipeError(f"--set {override}: expected key=value, such as distillation.epochs=50")
    where = f"--set {override}"
    path, value = rename(tuple(name.strip().split(".")), parse_yaml(text, where), where)
    try:
        set_key(content, path, value)
    except TypeError as error:
        raise RecipeError(f"{where}: '{error}' is a value, not a section") from error


def _faults(error: ValidationError) -> str:
    """All faults on one line."""
    locations, faults = [list(fault["loc"]) for fault in error.errors()], []
    for fault in error.errors(include_input=False, include_url=False):
        location = list(fault["loc"])
        if location[:1] and location[0] in SECTIONS_WITH_KINDS and len(location) > 1:
            del location[1]  # the section's kind, which pydantic puts there as if it were a key
        if location[:1] == ["fine_tuning"] and ["distillation", *location[1:]] in locations:
            continue  # inherited from there
        where = ".".join(str(part) for part in location)
        text = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"][:1].lower() + fault["msg"][1:]
        faults.append(f"{where}: {text}" if where else text)
    return "; ".join(faults)
