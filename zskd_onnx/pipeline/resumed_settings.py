"""The settings of a run that is resumed: those of its folder, which options may repeat and may not contradict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from zskd_onnx.config.recipe import Recipe
from zskd_onnx.errors import UsageError
from zskd_onnx.pipeline.choose_recipe import chosen_recipe
from zskd_onnx.pipeline.run_settings import RunSettings, file_digests, plain_options, read_settings
from zskd_onnx.system.devices import choose_device

DEFAULTS = {"importer": "native"}
"""Values that count as left out, because the command line cannot tell them from options that are left out."""


def resumed_settings(
    path: Path,
    *,
    recipe: str | Path | Recipe | None,
    overrides: Iterable[str],
    seed: int | None,
    init: str | None,
    device: str = "auto",
    time_budget: float | None = None,
    **options: Any,
) -> RunSettings:
    """The settings of a run that is resumed; options may repeat them, and files may have moved.

    The device and the time budget may be others. A device that this machine lacks gives way to the CPU.

    Raises:
        UsageError: there is no run, an option conflicts with it, or one of its files has changed or is missing.
    """
    recorded, folder = read_settings(path), path.parent
    conflicts = _recipe_conflicts(recorded, recipe, list(overrides), seed, init)
    given = {key: value for key, value in plain_options(options).items() if value != DEFAULTS.get(key)}
    present = {"student": recorded.recipe.student, **recorded.options}
    digests = file_digests({**recorded.options, **given}, folder)
    for key, value in given.items():
        here, there = digests.get(key, value), recorded.digests.get(key, present.get(key))
        if here != there:
            conflicts.append(
                f"{_option(key)} {_named(value, digests.get(key))} (there: "
                f"{_named(present.get(key), recorded.digests.get(key))})"
            )
    if conflicts:
        raise UsageError(
            f"{folder}: the run there has other settings: {', '.join(conflicts)}; leave these options out to resume it, "
            "or start anew with --overwrite"
        )
    for key, value in recorded.digests.items():
        if digests.get(key, value) != value:
            raise UsageError(
                f"{folder}: the file of {_option(key)} has changed since the run there began (SHA-256 "
                f"{_short(digests[key])}, then {_short(value)}); restore it, or start anew with --overwrite"
            )
    moved = {key: given.get(key, value) for key, value in recorded.options.items()}
    if time_budget is not None:
        moved["time_budget"] = time_budget
    moved["device"] = _device(device, recorded.options.get("device", "auto"))
    return replace(recorded, options=moved)


def _device(asked: str, before: str) -> str:
    """The device that is asked for, or else the one from before, or else the CPU."""
    if asked != "auto":
        return choose_device(asked).type
    return before if before == choose_device("auto").type else "cpu"


def _recipe_conflicts(
    recorded: RunSettings, recipe: str | Path | Recipe | None, overrides: list[str], seed: int | None, init: str | None
) -> list[str]:
    """The fields of the recipe that the options would change."""
    asked = recorded.asked
    more = [override for override in overrides if override not in asked["overrides"]]
    if recipe is None and seed is None and init is None and not more:
        return []
    base = recipe or asked["recipe"] or recorded.recipe
    before = [] if isinstance(base, Recipe) else asked["overrides"]
    requested = chosen_recipe(
        base,
        (*before, *more),
        asked["seed"] if seed is None else seed,
        asked["init"] if init is None else init,
    )
    there, here = _leaves(recorded.recipe), _leaves(requested)
    if here["name"] != there["name"]:
        return [f"--recipe {here['name']} (there: {there['name']})"]
    fields = [key for key in {**there, **here} if here.get(key) != there.get(key)]
    return [
        f"{f'--{key}' if key in ('seed', 'init') else f'{key}:'} {_short(here.get(key))} (there: {_short(there.get(key))})"
        for key in fields[:3]
    ]


def _leaves(recipe: Recipe) -> dict[str, Any]:
    """Path of each field -> its value."""
    leaves: dict[str, Any] = {}
    sections: list[tuple[str, Any]] = [("", recipe.model_dump(mode="json"))]
    for name, value in sections:
        if isinstance(value, dict):
            sections += [(f"{name}.{key}".lstrip("."), part) for key, part in value.items()]
        else:
            leaves[name] = value
    return leaves


def _option(key: str) -> str:
    return "the teacher" if key == "teacher" else f"--{key.replace('_', '-')}"


def _named(value: Any, digest: str | None) -> str:
    """An option's value; for a file also its SHA-256."""
    return _short(value) if digest is None else f"{value} with SHA-256 {_short(digest)}"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:12]}…"
