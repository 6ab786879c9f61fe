"""Registry of the built-in students."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

Shape = tuple[int, ...]
Factory = Callable[[Shape, int], nn.Module]


@dataclass(frozen=True)
class Architecture:
    """An architecture that adapts to a sample shape and a number of classes.

    Attributes:
        name: name on the command line and in recipes.
        summary: one line about it.
        build: returns a module for the shape of one sample, such as (C, H, W) or (F,), and the number of
            classes K. The module maps samples (N, *shape) of the unit space to logits (N, K).
        unsupported_reason: returns why the architecture does not support a shape, or None if it does.
    """

    name: str
    summary: str
    build: Factory
    unsupported_reason: Callable[[Shape], str | None]


STUDENTS: dict[str, Architecture] = {}


@dataclass(frozen=True)
class Family:
    """Architectures whose names contain sizes.

    Attributes:
        pattern: form of the names, such as "wrn-D-K".
        summary: one line about them.
        member: returns the architecture of a name.
    """

    pattern: str
    summary: str
    member: Callable[[str], Architecture]


FAMILIES: dict[str, Family] = {}
"""Families by the first word of their names."""


def student(name: str, summary: str, unsupported_reason: Callable[[Shape], str | None]) -> Callable[[Factory], Factory]:
    """A decorator that registers a factory as an architecture."""

    def register(build: Factory) -> Factory:
        STUDENTS[name] = Architecture(name, summary, build, unsupported_reason)
        return build

    return register


def family(pattern: str, summary: str) -> Callable[[Callable[[str], Architecture]], Callable[[str], Architecture]]:
    """A decorator that registers a function for all names that start with the pattern's first word and a hyphen."""

    def register(member: Callable[[str], Architecture]) -> Callable[[str], Architecture]:
        FAMILIES[pattern.partition("-")[0]] = Family(pattern, summary, member)
        return member

    return register


def find(name: str) -> Architecture | None:
    """The architecture of that name, registered or a member of a family; None if there is none.

    Raises:
        UsageError: the family has no such member; the message says which names are allowed.
    """
    word, hyphen, _ = name.partition("-")
    if name not in STUDENTS and hyphen and word in FAMILIES:
        return FAMILIES[word].member(name)
    return STUDENTS.get(name)


def needs_images(smallest_side: int) -> Callable[[Shape], str | None]:
    """An ``unsupported_reason`` for architectures that need images of a smallest side."""

    def unsupported_reason(shape: Shape) -> str | None:
        if len(shape) != 3:
            return "it needs images"
        if min(shape[1:]) < smallest_side:
            return f"it needs images of at least {smallest_side}x{smallest_side} pixels"
        return None

    return unsupported_reason
