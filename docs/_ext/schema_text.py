"""The JSON schema of recipes in words: sections, types, defaults. Needs no Sphinx."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Schema = Mapping[str, Any]


def sections(schema: Schema) -> dict[str, Schema]:
    """The object schema of each section and kind, by the name that ``recipe-fields`` takes."""
    tables: dict[str, Schema] = {"recipe": schema}

    def visit(prefix: str, properties: Mapping[str, Schema]) -> None:
        for name, value in properties.items():
            for branch in branches(value, schema):
                if "properties" not in branch:
                    continue
                kind = branch["properties"].get("kind", {}).get("const")
                key = ".".join(filter(None, (prefix, name, kind)))
                if branch not in tables.values():  # fine_tuning has the fields of distillation
                    tables[key] = branch
                    visit(".".join(filter(None, (prefix, name))), branch["properties"])

    visit("", schema["properties"])
    return tables


def branches(value: Schema, schema: Schema) -> list[Schema]:
    """The alternatives of a field, with references followed."""
    if "$ref" in value:
        return branches(schema["$defs"][value["$ref"].rsplit("/", 1)[1]], schema)
    alternatives = value.get("anyOf") or value.get("oneOf") or value.get("allOf")
    if alternatives is None:
        return [value]
    return [branch for one in alternatives for branch in branches(one, schema)]


def type_text(value: Schema, schema: Schema) -> str:
    """A field's type in words, such as "number, 0 to 1, or null"."""
    alternatives = branches(value, schema)
    if any("properties" in branch for branch in alternatives):
        return "section" + (" or null" if {"type": "null"} in alternatives else "")
    texts = list(dict.fromkeys(_plain(branch, schema) for branch in alternatives))
    return ", or ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def _plain(branch: Schema, schema: Schema) -> str:
    if "const" in branch or "enum" in branch:
        return " or ".join(f"`{value}`" for value in branch.get("enum", [branch.get("const")]))
    kind = branch.get("type")
    if kind == "array":
        fixed = branch.get("prefixItems")
        of = type_text(fixed[0] if fixed else branch.get("items", {}), schema)
        return f"{len(fixed)} values, each {of}" if fixed else f"list of {of}"
    if kind == "object":
        keys = _plain(branch.get("propertyNames", {"type": "string"}), schema)
        return f"mapping of {keys} to {type_text(branch.get('additionalProperties', {}), schema)}"
    if kind == "boolean":
        return "`true` or `false`"
    return f"{'text' if kind == 'string' else kind}{_bounds(branch)}"


def _bounds(branch: Schema) -> str:
    low, high = branch.get("minimum"), branch.get("maximum")
    above, below = branch.get("exclusiveMinimum"), branch.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f", {low:g} to {high:g}"
    limits = ((low, "at least"), (above, "above"), (high, "at most"), (below, "below"))
    texts = [f"{word} {_number(limit)}" for limit, word in limits if limit is not None]
    return f", {' and '.join(texts)}" if texts else ""


def _number(value: float) -> str:
    exponent = int(value).bit_length() - 1
    return f"2^{exponent}" if value > 10**12 and value == 2**exponent else f"{value:g}"


def default_text(name: str, value: Schema, required: Iterable[str], schema: Schema) -> str:
    """A field's default as YAML on one line."""
    if name in required:
        return "required"
    default = value.get("default")
    if isinstance(default, Mapping) and any("properties" in branch for branch in branches(value, schema)):
        return "its defaults"
    return f"`{default or chr(34) * 2}`" if isinstance(default, str) else f"`{json.dumps(default)}`"
