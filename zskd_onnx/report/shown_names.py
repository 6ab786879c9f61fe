"""Names of classes as pictures and pages show them."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 40
"""Characters of the longest name that is shown whole."""


def shown_names(names: Sequence[str] | None, classes: int) -> list[str]:
    """A name for each class; its number where the file has none."""
    return [str(number) for number in range(classes)] if names is None else [short_name(name) for name in names]


def short_name(name: str, longest: int = LONGEST) -> str:
    """A name from a file of unknown origin on one line, without control characters; a long one is cut."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
