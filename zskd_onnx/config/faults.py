"""What pydantic finds wrong with a recipe, in the words of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from zskd_onnx.config.content import expected_kinds, shown, unknown_names
from zskd_onnx.config.fields import Field, recipe_fields
from zskd_onnx.config.key_names import KINDS

ARTICLES = {"integer": "an", "number": "a", "list": "a", "mapping": "a", "section": "a"}


def describe_faults(error: ValidationError, values: Mapping[str, Any]) -> dict[str, str]:
    """Key -> what is wrong with it, for all faults of a recipe.

    Whatever pydantic dislikes in a value, the text says which values the field takes, as the schema has it.

    Args:
        error: of the validation.
        values: the content that was validated.
    """
    faults, fields = unknown_names(values), recipe_fields()
    for fault in error.errors(include_url=False):
        location = [str(part) for part in fault["loc"]]
        kind = ""
        if len(location) > 1 and location[0] in KINDS:
            kind = location.pop(1)  # pydantic puts it there as if it were a key
        key = ".".join(location)
        while key and key not in fields and fault["type"] != "extra_forbidden":
            key = key.rpartition(".")[0]  # the rest is an index, or a type that pydantic tried
        first, _, rest = key.partition(".")
        inherited = first == "fine_tuning" and f"distillation.{rest}" in faults
        if key in faults or inherited or fault["type"] == "invalid_key":
            continue  # ``unknown_names`` has it, or it is the fault of another section
        if fault["type"] == "extra_forbidden":
            if key not in fields:
                continue
            faults[key] = f"is no key of kind {kind}; kinds with it: {', '.join(field.kinds for field in fields[key])}"
        elif fault["type"].startswith("union_tag"):
            faults.setdefault(f"{key}.kind", f"is missing; {expected_kinds(key)}")
        elif fault["type"] == "value_error":
            faults[key] = str(fault["ctx"]["error"])
        elif fault["type"] == "missing" and key == ".".join(location):
            faults[key] = f"is missing; expected {_expected(fields[key], kind)}"
        else:
            faults[key] = f"expected {_expected(fields[key], kind)}, not {shown(_value(values, key, fault['input']))}"
    return faults


def _expected(fields: list[Field], kind: str) -> str:
    """The values that a field takes, in words, with an article."""
    text = next((field.type for field in fields if kind in field.kinds.split(", ")), fields[0].type)
    article = ARTICLES.get(text.partition(" ")[0])
    return f"{article} {text}" if article else text


def _value(values: Mapping[str, Any], key: str, default: Any) -> Any:
    """The value that a recipe has for a key."""
    value: Any = values
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return default
        value = value[name]
    return value
