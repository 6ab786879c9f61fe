"""Overrides of a recipe as the command line takes them, also from a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

Overrides = Iterable[str] | Mapping[str, Any]
"""Texts such as "distillation.epochs=50", or a mapping such as {"distillation": {"epochs": 50}}."""


def override_texts(overrides: Overrides) -> list[str]:
    """Overrides as texts; keys of a mapping may be nested, or joined with dots."""
    return list(_leaves(overrides)) if isinstance(overrides, Mapping) else list(overrides)


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=float("inf")).strip()
            yield f"{prefix}{key}={text.removesuffix('...').strip()}"  # PyYAML ends a document of one scalar with dots
