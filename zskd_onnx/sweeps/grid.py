"""The grid of a sweep: which runs it makes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zskd_onnx.config.files import parse_yaml
from zskd_onnx.errors import UsageError

if TYPE_CHECKING:
    from zskd_onnx.config.recipe import Recipe


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        recipe: a built-in name or a .yaml file.
        settings: field -> value that the sweep sets.
        seed: of every random draw.
    """

    recipe: str
    settings: dict[str, Any]
    seed: int

    def __str__(self) -> str:
        return ", ".join([self.recipe, *(f"{key}={_text(value)}" for key, value in self.settings.items())])

    @property
    def overrides(self) -> list[str]:
        """The settings as a recipe's overrides."""
        return [f"{key}={_text(value)}" for key, value in self.settings.items()]

    def resolve(self) -> Recipe:
        """The recipe with the run's settings and seed.

        Raises:
            RecipeError: it does not validate.
        """
        from zskd_onnx.config.load import load_recipe  # here, because it imports torch, which takes seconds

        return load_recipe(self.recipe, self.overrides).model_copy(update={"seed": self.seed})


def run_grid(recipes: Sequence[str], settings: Iterable[str], seeds: int) -> list[Run]:
    """Every recipe with every combination of values, each with the seeds 0 to ``seeds`` - 1.

    Args:
        settings: "prior.sigma=0.5,1,2" and the like. Values are YAML. A comma inside brackets belongs to the
            value, so "synthesis.resolution=[0.5,1],[1]" has two values.
        seeds: number of seeds.

    Raises:
        UsageError: a setting cannot be read or is repeated, or there is no seed.
    """
    if seeds < 1:
        raise UsageError(f"seeds {seeds}: expected 1 or more")
    values: dict[str, list[Any]] = {}
    for setting in settings:
        key, options = _values(setting)
        if key in values:
            raise UsageError(f"--set {key}: is repeated; give all values in one option, with commas between them")
        values[key] = options
    combinations = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    return [Run(*parts) for parts in itertools.product(recipes, combinations, range(seeds))]


def _values(setting: str) -> tuple[str, list[Any]]:
    key, equals, text = setting.partition("=")
    key = key.strip()
    if not equals or not key or not text.strip():
        raise UsageError(f"--set {setting}: expected key=value,value, such as distillation.epochs=20,50")
    if key == "seed":
        raise UsageError("--set seed: a sweep counts seeds from 0; give their number with --seeds")
    return key, [_number(value) for value in parse_yaml(f"[{text}]", f"--set {setting}")]


def _number(value: Any) -> Any:
    """A value; text such as 1e-3, which YAML 1.1 does not read as a number, becomes one."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _text(value: Any) -> str:
    """A value as YAML."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
