"""Recipe files, built-in and of the user: reading and parsing; validation comes later."""

from __future__ import annotations

import os
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from zskd_onnx.config.suggest import nearest
from zskd_onnx.errors import RecipeError, UsageError
from zskd_onnx.system.files import expect_file

DEFAULT_RECIPE = "best"
"""The recipe of a run that names none."""

SUFFIXES = (".yaml", ".yml")

SIZE_LIMIT = 1 << 16
"""Largest size of a recipe file, bytes."""


EVERYDAY, AS_PUBLISHED = "zskd_onnx.recipes", "zskd_onnx.recipes.as_published"
"""Packages of the recipes for everyday work, and of those with the settings of their papers."""


def recipe_names(package: str = EVERYDAY) -> list[str]:
    """Names of the built-in recipes in one of the packages."""
    files = _folder(package).iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def all_recipe_names() -> list[str]:
    """Names of all built-in recipes, those for everyday work first."""
    return [*recipe_names(), *recipe_names(AS_PUBLISHED)]


def recipe_text(name: str) -> str:
    """The YAML of a built-in recipe, with its comments.

    Raises:
        RecipeError: no recipe has that name; the message suggests the nearest.
    """
    for package in (EVERYDAY, AS_PUBLISHED):
        if name in recipe_names(package):
            return (_folder(package) / f"{name}.yaml").read_text(encoding="utf-8")
    hint = nearest(name, all_recipe_names())
    raise RecipeError(f"recipe '{name}': expected {', '.join(recipe_names())}, or a .yaml file{hint and f'; {hint}'}")


def _folder(package: str) -> Traversable:
    """Where the recipes of a package lie: inside the installed package, or beside it in a checkout.

    ``python -m zskd_onnx`` in a checkout imports the checkout's modules, even if the package is installed.
    """
    try:
        return resources.files(package)
    except ModuleNotFoundError:
        return Path(__file__).parents[2].joinpath(*package.split(".")[1:])


def recipe_path(name_or_path: str | Path) -> Path | None:
    """The file that a recipe is read from, or None for a built-in name; ``mine`` may stand for ``mine.yaml``."""
    name = str(name_or_path)
    if name.endswith(SUFFIXES):
        return Path(name)
    if name not in all_recipe_names():
        for suffix in SUFFIXES:
            path = Path(f"{name}{suffix}")
            if os.path.isfile(path):  # Path.is_file raises if a path is too long
                return path
    return None


def read_recipe(name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    """The content of a recipe, and its name for messages.

    Args:
        name_or_path: a built-in name, or a path; its .yaml or .yml may be left out.

    Raises:
        RecipeError: no such recipe or file, no mapping in YAML, or a repeated key.
    """
    path, name = recipe_path(name_or_path), str(name_or_path)
    text, where = (recipe_text(name), f"recipe '{name}'") if path is None else (_read(path), str(path))
    content = parse_yaml(text, where)
    if not isinstance(content, dict):
        raise RecipeError(f"{where}: expected a mapping of keys to values")
    return content, where


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; only plain data is read, never code.

    Args:
        where: the text's name for messages.

    Raises:
        RecipeError: the text is not YAML, or repeats a key.
    """
    try:
        loader = yaml.SafeLoader(text)  # as yaml.safe_load, with a look at the keys in between
        root = loader.get_single_node()
        repetition = _repeated_key(root)
        content = None if root is None or repetition else loader.construct_document(root)
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise RecipeError(f"{where}: not YAML ({' '.join(str(error).split())[:300]})") from error
    if repetition is not None:
        raise RecipeError(f"{where}: {repetition}; expected each key once in a section")
    return content


def _read(path: Path) -> str:
    try:
        expect_file(path, "a recipe in YAML")
    except UsageError as error:
        raise RecipeError(str(error)) from error
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise RecipeError(f"{path}: larger than {SIZE_LIMIT:,} bytes, so not a recipe")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RecipeError(f"{path}: {reason}; expected a recipe in YAML") from error


def _repeated_key(root: yaml.Node | None) -> str | None:
    """A key that a section repeats; YAML would silently keep the last value."""
    nodes, visited = [root], set[int]()
    while nodes:
        node = nodes.pop()
        if id(node) in visited:  # an alias
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                nodes.append(value)
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys:
                        return f"key '{key.value}' is repeated in line {key.start_mark.line + 1}"
                    keys.add(key.value)
    return None
