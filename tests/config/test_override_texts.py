"""Overrides of a recipe from a mapping."""

from __future__ import annotations

from typing import Any

import pytest

from zskd_onnx.config.load import load_recipe
from zskd_onnx.config.override_texts import override_texts


@pytest.mark.parametrize(
    ("nested", "texts"),
    [
        (
            {"distillation": {"epochs": 3, "learning_rate": 1e-05}},
            ["distillation.epochs=3", "distillation.learning_rate=1e-05"],
        ),
        ({"distillation.epochs": 3, "procedural": None}, ["distillation.epochs=3", "procedural=null"]),
        ({"prior": {"beta": [1.0, 0.1]}, "student": "cnn"}, ["prior.beta=[1,0.1]", "student=cnn"]),
    ],
)
def test_a_mapping_means_the_same_as_texts(nested: dict[str, Any], texts: list[str]) -> None:
    assert load_recipe("zskd", override_texts(nested)) == load_recipe("zskd", texts)


def test_texts_stay_as_they_are() -> None:
    assert override_texts(("seed=3",)) == ["seed=3"]
