"""Recipes: the whole configuration of a run, as typed data and as YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import Field, ValidationError, field_validator

from zskd_onnx.deployment import Deployment
from zskd_onnx.distillation import Distillation
from zskd_onnx.errors import RecipeError, UnsupportedTeacherError
from zskd_onnx.priors import PRIORS
from zskd_onnx.settings import Settings
from zskd_onnx.synthesis import SYNTHESES
from zskd_onnx.teacher import Teacher

SIZE_LIMIT = 1 << 20
"""Bytes that a recipe file may have."""

Requirement = Literal["head"]


def _one_of(classes: Sequence[type[Settings]]) -> Any:
    """A section that holds one of several classes, told apart by ``kind``."""
    if len(classes) == 1:
        return classes[0]
    return Annotated[Union[tuple(classes)], Field(discriminator="kind")]  # noqa: UP007


class Recipe(Settings):
    """One way to compress a teacher.

    Attributes:
        name, summary, paper: for people.
        requires: what the teacher must have: "head", a final fully connected layer.
        prior: where soft targets come from.
        synthesis: how inputs are made.
        student: an architecture's name, "half" or "auto".
        distillation: how the student is trained.
        held_out: impressions beyond the transfer set that measure agreement and train nothing.
        deployment: how the student is delivered.
        seed: of every random draw.
    """

    name: str
    summary: str
    paper: str = ""
    requires: tuple[Requirement, ...] = ()
    prior: _one_of(PRIORS)  # type: ignore[valid-type]
    synthesis: _one_of(SYNTHESES)  # type: ignore[valid-type]
    student: str = "auto"
    distillation: Distillation = Distillation()
    held_out: Annotated[int, Field(ge=100, le=100_000)] = 1000
    deployment: Deployment = Deployment()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @field_validator("student")
    @classmethod
    def _never_code(cls, value: str) -> str:
        """A recipe is data: it cannot name code to run."""
        if ":" in value or "/" in value or value.endswith(".py"):
            raise ValueError("a recipe cannot name a module of your own; give it with --student or student=")
        return value

    def to_yaml(self) -> str:
        """The recipe with every field written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def check(self, teacher: Teacher) -> None:
        """Raise UnsupportedTeacherError if the teacher lacks what the recipe requires."""
        if "head" in self.requires and teacher.head is None:
            others = [name for name in recipe_names() if "head" not in load_recipe(name).requires]
            raise UnsupportedTeacherError(
                f"{teacher.source.path}: recipe '{self.name}' needs a final fully connected layer, and none was found "
                f"behind the output; recipes that do not: {', '.join(others)}"
            )


def recipe_names() -> list[str]:
    """Names of the built-in recipes."""
    folder = resources.files("zskd_onnx.recipes")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def recipe_text(name: str) -> str:
    """The YAML of a built-in recipe, comments included.

    Raises:
        RecipeError: there is none of that name; the message suggests the nearest.
    """
    names = recipe_names()
    if name not in names:
        nearest = difflib.get_close_matches(name, names, 1, cutoff=0.4)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
        raise RecipeError(f"recipe '{name}': expected {', '.join(names)}, or a .yaml file{hint}")
    return (resources.files("zskd_onnx.recipes") / f"{name}.yaml").read_text(encoding="utf-8")


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A built-in recipe or a YAML file, with overrides.

    Args:
        name_or_path: "zskd", or a path that ends in .yaml or .yml.
        overrides: "distillation.epochs=50" and the like; the value is read as YAML.

    Raises:
        RecipeError: no such recipe, or it does not validate; the message lists every fault.
    """
    name = str(name_or_path)
    if name.endswith((".yaml", ".yml")):
        text, where = _read(Path(name)), name
    else:
        text, where = recipe_text(name), f"recipe '{name}'"
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{where}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{where}: expected a mapping of keys to values")
    for override in overrides:
        _apply(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_faults(error)}") from error


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise RecipeError(f"{path}: larger than {SIZE_LIMIT:,} bytes; not a recipe")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RecipeError(f"{path}: {reason}; expected a recipe in YAML") from error


def _apply(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise RecipeError(f"--set {override}: expected key=value, such as distillation.epochs=50")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override}: '{text}' is not a YAML value") from error
    at = content
    for key in keys[:-1]:
        inner = at.setdefault(key, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"--set {override}: '{key}' is a value, not a section")
        at = inner
    at[keys[-1]] = value


def _faults(error: ValidationError) -> str:
    """All faults on one line."""
    faults = []
    for fault in error.errors(include_input=False, include_url=False):
        # The discriminator of a section stands in the location as if it were a key.
        where = ".".join(str(part) for part in fault["loc"])
        text = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"][:1].lower() + fault["msg"][1:]
        faults.append(f"{where}: {text}" if where else text)
    return "; ".join(faults)
