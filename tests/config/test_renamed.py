"""Old names of recipe keys, which are accepted for one release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from zskd_onnx import RecipeError, load_recipe
from zskd_onnx.config.renamed import KEYS, rename_keys

OLD_ABM = """
name: mine
summary: as written for version 0.1
generator: {kind: adversarial, noise: 64, memory: 10, clip: 3.0, fresh: true}
init: fresh
distillation:
  epoch_samples: 1000
  clip: 5.0
  checks: 7
  labels: 0.1
  attention: 250.0
  hints: 2.0
  augmentation: {fraction: 0.8, window: 0.5, outside: edge, contours: 0.75, strokes: 0.5, leaves: 0.75}
fine_tuning: {labels: 0.3, checks: 3}
"""

NEW_ABM = """
name: mine
summary: as written for version 0.1
generator: {kind: adversarial, latent_dim: 64, replay: 10, grad_clip: 3.0, fresh_batches: true}
procedural: {level_lines: 0.3, pen_strokes: 0.4, dead_leaves: 0.6}
init: random
distillation:
  epoch_samples: 1000
  grad_clip: 5.0
  validations: 7
  loss_weights: {labels: 0.1, attention: 250.0, features: 2.0}
  augmentation: {fraction: 0.8, crop: 0.5, padding_mode: border}
fine_tuning: {loss_weights: {labels: 0.3}, validations: 3}
"""


def test_an_old_recipe_is_the_new_one_and_each_line_is_told(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(OLD_ABM)
    new.write_text(NEW_ABM)
    with pytest.warns(FutureWarning) as warned:
        recipe = load_recipe(old)
    assert recipe == load_recipe(new)
    messages = [str(warning.message) for warning in warned]
    assert any(f"{old}: write distillation.grad_clip: 5.0 in place of distillation.clip: 5.0" in m for m in messages)
    assert any("write section procedural" in m for m in messages)
    assert len(messages) == 15


def test_an_old_key_of_an_override() -> None:
    with pytest.warns(FutureWarning, match=r"--set fine_tuning.hints=2: write fine_tuning.loss_weights.features: 2"):
        recipe = load_recipe("best", ["fine_tuning.hints=2"])
    assert recipe.fine_tuning is not None
    assert recipe.fine_tuning.loss_weights.features == 2


def test_a_field_whose_meaning_has_changed_is_refused_as_an_override() -> None:
    with pytest.raises(RecipeError, match=r"procedural\.pen_strokes"):
        load_recipe("best", ["distillation.augmentation.strokes=0.5"])


def test_built_in_recipes_have_no_old_names() -> None:
    """Warnings are errors in tests."""
    for path in (Path(__file__).parents[2] / "recipes").glob("*.yaml"):
        load_recipe(path)


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_new_names_are_fields(path: tuple[str, ...]) -> None:
    schema: Any = load_recipe("abm-few-shot").model_json_schema()
    names = {name for definition in schema["$defs"].values() for name in definition.get("properties", {})}
    assert KEYS[path][-1] in names
    assert path[-1] not in names or path[-1] in ("labels", "attention", "noise")


def test_an_endless_content_is_not_followed() -> None:
    content = yaml.safe_load("a: &a {b: *a}\nsynthesis: &s {clip: *s}\n")
    with pytest.warns(FutureWarning):
        rename_keys({"init": "fresh", **content}, "recipe")
