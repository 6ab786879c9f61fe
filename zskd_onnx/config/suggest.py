"""The nearest names to one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MOST = 3
"""Largest number of suggestions."""


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint such as "did you mean 'best'?", or "" where no name is near."""
    close = difflib.get_close_matches(name, list(names), 1, cutoff=0.4)
    return f"did you mean '{close[0]}'?" if close else ""


def nearest_keys(path: str, keys: Sequence[str]) -> str:
    """A hint for a key that a recipe does not have.

    Keys whose last part is the same come first, then those whose last part is spelt alike, contains the word or
    has its initials, such as "lr" for "learning_rate". Of these, keys of the same section are taken, or else those of
    the most similar sections.

    Args:
        path: the unknown key, such as "epochs".
        keys: all keys with their sections, such as "distillation.epochs".
    """
    *sections, last = path.split(".")
    lasts = {key: key.rpartition(".")[2] for key in keys}
    alike = set(difflib.get_close_matches(last, set(lasts.values()), MOST, cutoff=0.8))
    candidates = (
        [key for key, name in lasts.items() if name == last],
        [key for key, name in lasts.items() if name in alike],
        [key for key, name in lasts.items() if last and last in name.split("_")],
        [key for key, name in lasts.items() if last == "".join(word[:1] for word in name.split("_"))],
        difflib.get_close_matches(path, keys, MOST),
    )
    for group in candidates:
        if group:
            same = [key for key in group if sections and key.split(".")[:-1] == sections]
            close = same or sorted(group, key=lambda key: -_shared(sections, key.split(".")[:-1]))[:MOST]
            return f"did you mean {' or '.join(close)}?"
    return "'zskd-onnx recipes schema' lists all keys"


def _shared(sections: Sequence[str], others: Sequence[str]) -> float:
    """How alike two lists of sections are, from 0 to 1; ``distillation``, the commonest section, precedes its equals."""
    usual = 0.1 * (list(others[:1]) == ["distillation"])
    return difflib.SequenceMatcher(None, ".".join(sections), ".".join(others)).ratio() + usual
