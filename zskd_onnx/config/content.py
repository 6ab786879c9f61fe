"""The content of a recipe with its overrides, and the checks of it that need no torch."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zskd_onnx.config.files import parse_yaml, read_recipe
from zskd_onnx.config.key_names import KINDS, RECIPE_KEYS
from zskd_onnx.config.renamed import rename, rename_keys, set_key
from zskd_onnx.config.suggest import nearest, nearest_keys
from zskd_onnx.errors import RecipeError, UsageError

SECTIONS = tuple(dict.fromkeys(key[: dot.start()] for key in RECIPE_KEYS for dot in re.finditer(r"\.", key)))

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60

TEXTS = ("name", "summary", "paper", "expected")
"""Keys whose value is any text."""


@dataclass(frozen=True)
class Content:
    """A recipe as it is written, with overrides.

    Attributes:
        values: the sections and values.
        where: the recipe's name for messages.
        overridden: keys that overrides set.
    """

    values: dict[str, Any]
    where: str
    overridden: tuple[str, ...]

    def error(self, faults: Mapping[str, str]) -> RecipeError:
        """The error that lists all faults on one line.

        Args:
            faults: key -> what is wrong with it; the key "" is for the recipe as a whole.
        """
        texts, from_options = [], True
        for key, text in faults.items():
            is_option = any(
                f"{key}.".startswith(f"{path}.") or f"{path}.".startswith(f"{key}.") for path in self.overridden
            )
            from_options &= is_option
            texts.append(f"{'--set ' * is_option}{key}: {text}" if key else text)
        return RecipeError("; ".join(texts) if from_options else f"{self.where}: {'; '.join(texts)}")


def read_content(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Content:
    """A recipe's content under the present names of its keys, with overrides.

    Args:
        name_or_path: see ``read_recipe``.
        overrides: "distillation.epochs=50" and the like; the value is read as YAML.

    Raises:
        RecipeError: no such recipe, or a text that cannot be read.
    """
    values, where = read_recipe(name_or_path)
    rename_keys(values, where)
    overridden = tuple(_apply(values, override) for override in overrides)
    return Content(values, where, overridden)


def check_names(name_or_path: str | Path, overrides: Iterable[str] = ()) -> None:
    """Raise RecipeError where a recipe cannot be read, or has unknown keys or kinds; torch is not loaded."""
    content = read_content(name_or_path, overrides)
    faults = unknown_names(content.values)
    if faults:
        raise content.error(faults)


def expect_key(key: str) -> None:
    """Raise UsageError unless a recipe has a key; the message suggests the nearest."""
    if key not in RECIPE_KEYS and key not in SECTIONS:
        hint = nearest_keys(key, (*RECIPE_KEYS, *SECTIONS))
        raise UsageError(f"key '{key}': a recipe has no such key; {hint}")


def unknown_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Key -> what is wrong, for keys that no recipe has, and for kinds that no section has."""
    faults = {key: f"unknown key ({nearest_keys(key, (*RECIPE_KEYS, *SECTIONS))})" for key in _unknown_keys(values, ())}
    for section, kinds in KINDS.items():
        content = values.get(section)
        kind = content.get("kind") if isinstance(content, Mapping) else None
        if kind is not None and kind not in kinds:
            hint = nearest(kind, kinds) if isinstance(kind, str) else ""
            faults[f"{section}.kind"] = f"unknown kind {shown(kind)}; {hint or expected_kinds(section)}"
    return faults


def expected_kinds(section: str) -> str:
    """The kinds of a section, for messages."""
    *kinds, last = KINDS[section]
    return f"expected {', '.join(kinds)} or {last}"


def shown(value: Any) -> str:
    """A value as a message shows it, not longer than about 60 characters."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return _REPR.repr(value)


def _unknown_keys(values: Mapping[Any, Any], sections: tuple[str, ...]) -> Iterator[str]:
    """Keys that do not exist; only known sections are entered, because YAML aliases may make a content endless."""
    for name, value in values.items():
        key = ".".join((*sections, str(name)))
        if key in SECTIONS:
            if isinstance(value, Mapping):
                yield from _unknown_keys(value, (*sections, name))
        elif key not in RECIPE_KEYS:
            yield key


def _apply(values: dict[str, Any], override: str) -> str:
    """Apply an override to a recipe's content; return its key."""
    name, equals, text = override.partition("=")
    if not equals or not all(name.strip().split(".")):
        raise RecipeError(f"--set {override}: expected key=value, such as distillation.epochs=50")
    where = f"--set {override}"
    path, value = rename(tuple(name.strip().split(".")), parse_yaml(text, where), where)
    key = ".".join(path)
    if isinstance(value, str) and "," in value and key in RECIPE_KEYS and key not in TEXTS:
        raise RecipeError(
            f"{where}: expected one value; 'zskd-onnx sweep' makes a run for each of several, and a list is written "
            f"[{value}]"
        )
    try:
        set_key(values, path, value)
    except TypeError as error:
        raise RecipeError(f"{where}: '{error}' is a value, not a section") from error
    return key
