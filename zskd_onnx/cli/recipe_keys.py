"""Values of a key in the built-in recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zskd_onnx.config.files import recipe_names
from zskd_onnx.config.load import load_recipe


def values_in_recipes(path: str) -> dict[str, Any]:
    """Built-in recipe -> value of a key, for the recipes that have its section."""
    values = {}
    for name in recipe_names():
        value: Any = load_recipe(name).model_dump(mode="json")
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                break
            value = value[key]
        else:
            values[name] = value
    return values
