"""Faults of a recipe in the words of this package."""

from __future__ import annotations

import copy
import datetime

import pytest
from pydantic import ValidationError

from zskd_onnx.config.content import read_content
from zskd_onnx.config.faults import describe_faults
from zskd_onnx.config.fields import recipe_fields
from zskd_onnx.config.load import load_recipe
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.config.renamed import set_key
from zskd_onnx.errors import RecipeError

VALUES = (
    *(None, -1, 1.5, 10**400, float("inf"), "text", "\ud800", [], ["a"], {"a": 1}, {1: 2}),
    *(datetime.date(2020, 1, 1), {"kind": None}, {"kind": [1]}),
)

FOREIGN = ("nput should", "alue error", "valid ", "rror", "pydantic", "tag")
"""Parts of pydantic's messages."""


def test_no_message_of_pydantic_reaches_users() -> None:
    """Every field with every kind of wrong value: there is a message, and the words are ours."""
    values, kinds = read_content("zskd").values, set()
    for path in recipe_fields():
        for value in VALUES:
            content = copy.deepcopy(values)
            try:
                set_key(content, tuple(path.split(".")), value)
            except TypeError:
                continue
            try:
                Recipe.model_validate(content)
            except ValidationError as error:
                kinds |= {fault["type"] for fault in error.errors()}
                faults = describe_faults(error, content)
                assert faults, (path, value)
                for text in faults.values():
                    assert not any(part in text for part in FOREIGN), (path, value, text)
                    assert len(text) < 250
    assert {"int_type", "int_from_float", "float_parsing", "literal_error", "union_tag_invalid", "too_short"} <= kinds


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("distillation.epochs=many", "expected an integer above 0 and at most 1,000,000, not 'many'"),
        ("distillation.augmentation.scale=[1]", r"expected a list of 2 numbers above 0, not \[1\]"),
        ("distillation.mixture={foo: 1}", "expected a mapping from transfer_set, data, .* to numbers above 0"),
        ("distillation=5", "--set distillation: expected a section, not 5"),
        ("synthesis={kind: noise, l2: 3}", r"synthesis\.l2: is no key of kind noise; kinds with it: impressions, deep"),
        ("prior={beta: [1]}", r"prior\.kind: is missing; expected dirichlet, normal or one_hot"),
        ("name=null", "expected text, not null"),
        (
            "procedural.level_lines=0.9",
            "--set procedural: level_lines, pen_strokes and objects are shares of one batch",
        ),
    ],
)
def test_words(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("zskd", [override])
