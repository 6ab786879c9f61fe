"""The fields of a recipe in words, from its JSON schema."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from zskd_onnx.config.recipe import Recipe

Schema = Mapping[str, Any]

LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}

TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


@dataclass(frozen=True)
class Field:
    """A field or a section of a recipe.

    Attributes:
        path: the key with its sections, such as "distillation.epochs".
        kinds: of the section that the field belongs to, such as "dirichlet, normal"; "" for sections of one kind.
        description: from the docstring of the settings class.
        type: in words, such as "integer above 0".
        default: as YAML writes it; None for required fields and for sections.
        keys: names of the fields in a section.
    """

    path: str
    kinds: str
    description: str
    type: str
    default: str | None
    keys: tuple[str, ...] = ()


@functools.cache
def recipe_fields() -> dict[str, list[Field]]:
    """Path -> field; several fields where the kinds of a section define it differently."""
    schema = Recipe.model_json_schema()
    fields: dict[str, list[Field]] = {}
    for field in _walk(schema, schema["$defs"], (), ""):
        alike = fields.setdefault(field.path, [])
        for index, other in enumerate(alike):
            if replace(field, kinds=other.kinds) == other:
                alike[index] = replace(other, kinds=f"{other.kinds}, {field.kinds}")
                break
        else:
            alike.append(field)
    return fields


def as_yaml(value: Any) -> str:
    """A value on one line, as a recipe writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {as_yaml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(as_yaml(inner) for inner in value) + "]"
    return value if isinstance(value, str) and value else json.dumps(value)


def _walk(schema: Schema, definitions: Schema, sections: tuple[str, ...], kind: str) -> Iterator[Field]:
    for name, content in schema.get("properties", {}).items():
        names = (*sections, name)
        inner = dict(_sections(content, definitions))
        yield Field(
            path=".".join(names),
            kinds=kind,
            description=content.get("description", ""),
            type="section" if inner else _type(content),
            default=None if inner or "default" not in content else _default(names, content["default"]),
            keys=tuple(dict.fromkeys(key for section in inner.values() for key in section["properties"])),
        )
        for inner_kind, section in inner.items():
            yield from _walk(section, definitions, names, inner_kind or kind)


def _sections(content: Schema, definitions: Schema) -> Iterator[tuple[str, Schema]]:
    """The sections that a field may hold, each with its kind or ""."""
    if "$ref" in content:
        section = definitions[content["$ref"].rpartition("/")[2]]
        if "properties" in section:
            yield section["properties"].get("kind", {}).get("const", ""), section
    for option in (*content.get("anyOf", ()), *content.get("oneOf", ())):
        yield from _sections(option, definitions)


def _default(names: tuple[str, ...], default: Any) -> str:
    if names[0] == "fine_tuning" and names[-1] not in ("patience", "features"):
        return f"the value of {'.'.join(('distillation', *names[1:]))}"
    return as_yaml(default)


def _type(content: Schema) -> str:
    """The type in words."""
    if "anyOf" in content:
        return " or ".join(_type(option) for option in content["anyOf"])
    if "const" in content:
        return str(content["const"])
    if "enum" in content:
        return "one of " + ", ".join(map(str, content["enum"]))
    if content.get("type") == "array":
        items = content.get("items") or (content.get("prefixItems") or [{}])[0]
        fewest, most = content.get("minItems", 0), content.get("maxItems")
        count = f"{fewest} " if fewest == most else f"{fewest} or more " * bool(fewest)
        return f"list of {count}{_plural(_type(items))}"
    if content.get("type") == "object":
        values = content.get("additionalProperties")
        names = content.get("propertyNames", {}).get("enum", ())
        keys = f" from {', '.join(names)}" if names else ""
        return f"mapping{keys} to {_plural(_type(values))}" if isinstance(values, dict) else "mapping"
    limits = [f"{words} {content[key]:,}" for key, words in LIMITS.items() if key in content]
    return " ".join([TYPES.get(content.get("type", ""), "value"), " and ".join(limits)]).strip()


def _plural(words: str) -> str:
    first, space, rest = words.partition(" ")
    return f"{first}s{space}{rest}" if first in ("integer", "number", "text") else words
