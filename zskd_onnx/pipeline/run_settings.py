"""The settings of a run as its folder records them, so that ``resume`` needs no option."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from zskd_onnx.config.files import DEFAULT_RECIPE
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.remote_folder import absolute_location, is_url
from zskd_onnx.errors import UsageError
from zskd_onnx.pipeline.choose_recipe import chosen_recipe
from zskd_onnx.pipeline.fingerprint import student_fingerprint
from zskd_onnx.students.own_files import is_onnx_file, own_file, with_absolute_path
from zskd_onnx.students.thinning.target import UNITS
from zskd_onnx.system.devices import choose_device
from zskd_onnx.system.files import expect_file, write_text
from zskd_onnx.version import __version__

SCHEMA_VERSION = 1

FILES = {
    "teacher": "an ONNX model",
    "data": "an .npz with real samples",
    "eval_data": "an .npz with real samples and labels",
}
"""Settings that name a file, which a resumed run recognises by its SHA-256."""

FOLDERS = ("pictures",)
"""Settings that name a folder; ``transfer_set`` names one or a URL."""


@dataclass(frozen=True)
class RunSettings:
    """What a run was asked for.

    Attributes:
        run: names this run and no other; its manifest repeats it.
        recipe: with all overrides, the seed and the initialisation.
        asked: how the recipe was asked for: "default" (whether it was left out), "recipe" (name or file, None for a
            ``Recipe``), "overrides", "seed" and "init".
        options: the other arguments of ``compress`` that were given, as JSON values; files by absolute paths.
        digests: SHA-256 of each file that an option names.
    """

    run: str
    recipe: Recipe
    asked: Mapping[str, Any]
    options: Mapping[str, Any]
    digests: Mapping[str, str]

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``prepare``."""
        settled = UNITS if "student" in self.options else ()  # the student that a target gave stands for it
        own = ("transfer_set", "time_budget", *settled)
        values = {key: value for key, value in self.options.items() if key not in own}
        if "fix" in values:
            values["fix"] = {
                name: Path(value) if isinstance(value, str) else value for name, value in values["fix"].items()
            }
        if self.asked["default"]:  # another recipe may take its place, if the teacher lacks what it needs
            return {**values, **{key: self.asked[key] for key in ("overrides", "seed", "init")}}
        return {**values, "recipe": self.recipe}

    @property
    def time_budget(self) -> float | None:
        """Seconds that the run may take, or None."""
        return self.options.get("time_budget")

    @property
    def transfer_set(self) -> Path | None:
        """Folder of the transfer set of another run that this run uses, if it is on this machine."""
        location = self.options.get("transfer_set")
        return None if location is None or is_url(location) else Path(location)

    @property
    def transfer_set_url(self) -> str | None:
        """URL of the transfer set of another run that this run copies and uses."""
        location = self.options.get("transfer_set")
        return location if location is not None and is_url(location) else None

    def with_student(self, name: str) -> RunSettings:
        """The settings with the student that a target gave, which another search might not give again."""
        if not self.options.keys() & UNITS.keys():
            return self
        return replace(self, options={**self.options, "student": name})

    def write(self, path: Path) -> None:
        # Students that are ONNX graphs start with random weights only where that was asked for.
        exclude = None if "init" in self.recipe.model_fields_set else {"init"}
        content = {
            "schema_version": SCHEMA_VERSION,
            "version": __version__,
            "run": self.run,
            "asked": self.asked,
            "options": self.options,
            "digests": self.digests,
            "recipe": self.recipe.model_dump(mode="json", exclude=exclude),
        }
        write_text(path, json.dumps(content, indent=2) + "\n")


def new_settings(
    *, recipe: str | Path | Recipe | None, overrides: Iterable[str], seed: int | None, init: str | None, **options: Any
) -> RunSettings:
    """The settings of a run that starts.

    Args:
        options: the other arguments of ``compress``, the teacher among them.

    Raises:
        UsageError: a recipe, an option or a file does not fit.
    """
    asked: dict[str, Any] = {"default": recipe is None, "overrides": list(overrides), "seed": seed, "init": init}
    recipe = DEFAULT_RECIPE if recipe is None else recipe
    chosen = chosen_recipe(recipe, tuple(asked["overrides"]), seed, init)
    asked["recipe"] = None if isinstance(recipe, Recipe) else _recipe_path(recipe)
    options = plain_options(options)
    options["device"] = choose_device(options.get("device", "auto")).type
    return RunSettings(uuid.uuid4().hex, chosen, asked, options, file_digests(options))


def read_settings(path: Path) -> RunSettings:
    """The settings that a run folder records.

    Raises:
        UsageError: the folder has none, or they cannot be read.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder; run the command without --resume")
    if not path.is_file():
        raise UsageError(f"{path.parent}: holds no run to resume (it has no {path.name}); run it without --resume")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            raise UsageError(f"{path}: schema version {content['schema_version']}, expected {SCHEMA_VERSION}")
        return RunSettings(
            str(content["run"]),
            Recipe.model_validate(content["recipe"]),
            dict(content["asked"]),
            dict(content["options"]),
            dict(content["digests"]),
        )
    except (OSError, ValidationError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path}: damaged, or of another version ({reason}); start anew with --overwrite") from error


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON values; those that are None or an empty mapping are left out, and paths become absolute."""
    plain = {key: _value(value) for key, value in options.items()}
    plain = {key: value for key, value in plain.items() if value not in (None, {})}
    for key in (*FILES, *FOLDERS):
        if key in plain:
            plain[key] = str(Path(plain[key]).absolute())
    if "transfer_set" in plain:
        plain["transfer_set"] = absolute_location(plain["transfer_set"])
    if "student" in plain:
        plain["student"] = with_absolute_path(plain["student"])
    return plain


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _value(part) for key, part in value.items()}
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return [_value(part) for part in value] if isinstance(value, (list, tuple)) else value


def _recipe_path(recipe: str | Path) -> str:
    """A recipe's name, or the absolute path of its file."""
    return str(Path(recipe).absolute()) if str(recipe).endswith((".yaml", ".yml")) else str(recipe)


def file_digests(options: Mapping[str, Any], folder: Path | None = None) -> dict[str, str]:
    """SHA-256 of the files that options name.

    Raises:
        UsageError: a file is missing; ``folder`` is that of the run that expects it.
    """
    whose = "" if folder is None else f" of the run in {folder}; give its path if it has moved"
    digests = {}
    for key, what in FILES.items():
        if key in options:
            path = Path(options[key])
            expect_file(path, f"{what}{whose}")
            with path.open("rb") as file:
                digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    student = str(options.get("student", ""))
    if is_onnx_file(student):
        expect_file(Path(student), f"an ONNX model{whose}")
    if own_file(student) is not None:
        digests["student"] = student_fingerprint(student)
    return digests
