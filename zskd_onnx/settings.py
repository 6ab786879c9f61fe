"""The base class of recipe sections."""

from __future__ import annotations

import inspect
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Requirement = Literal["head", "penultimate", "convolution", "batch_norm", "positions", "data"]
"""What a recipe may need: a final fully connected layer of the teacher, a fully connected layer before it, a
convolution, batch-normalisation statistics, inputs with positions (no vectors), real samples from the user."""


class Settings(BaseModel):
    """Validated and immutable; unknown keys are errors.

    The ``Attributes`` section of a subclass's docstring describes its fields, in Python and in the JSON schema.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @property
    def needs(self) -> dict[Requirement, str]:
        """Requirements of these settings, each with the field that causes it."""
        return {}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        """The JSON schema with descriptions from docstrings."""
        schema: dict[str, Any] = handler(core_schema)
        details = handler.resolve_ref_schema(schema)
        details["description"] = " ".join((inspect.getdoc(cls) or "").split("\n\n", 1)[0].split())
        for name, text in field_descriptions(cls).items():
            if name in details.get("properties", {}):
                details["properties"][name]["description"] = text
        return schema


def field_descriptions(cls: type[Settings]) -> dict[str, str]:
    """Field name -> description, from the docstrings of a class and its bases."""
    descriptions: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        section = re.search(r"^Attributes:\n((?:[ ]{4,}.*\n?|\n)+)", inspect.getdoc(base) or "", flags=re.M)
        if section is None or not issubclass(base, Settings):
            continue
        for entry in re.split(r"^ {4}(?=\S)", section.group(1), flags=re.M)[1:]:
            names, _, text = entry.partition(":")
            descriptions |= dict.fromkeys(re.split(r",\s*", names), " ".join(text.split()))
    return descriptions
