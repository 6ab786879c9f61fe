"""The table of students."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

Shape = tuple[int, ...]
Factory = Callable[[Shape, int], nn.Module]


@dataclass(frozen=True)
class Student:
    """An architecture that adapts to a teacher's input and class count.

    Attributes:
        name: how users call it.
        summary: one line.
        build: makes a module from the shape of one sample, (C, H, W) or (F,), and K; it maps
            (N, *shape) in the unit space to logits (N, K).
        misfit: why a shape does not suit, or None.
    """

    name: str
    summary: str
    build: Factory
    misfit: Callable[[Shape], str | None]


STUDENTS: dict[str, Student] = {}

FAMILIES: dict[str, Callable[[str], Student]] = {}
"""The first word of a name -> makes any member of that family from its whole name."""


def student(name: str, summary: str, misfit: Callable[[Shape], str | None]) -> Callable[[Factory], Factory]:
    """Register the decorated factory."""

    def register(build: Factory) -> Factory:
        STUDENTS[name] = Student(name, summary, build, misfit)
        return build

    return register


def family(word: str) -> Callable[[Callable[[str], Student]], Callable[[str], Student]]:
    """Register the decorated function for all names that start with a word and a hyphen."""

    def register(member: Callable[[str], Student]) -> Callable[[str], Student]:
        FAMILIES[word] = member
        return member

    return register


def find(name: str) -> Student | None:
    """The student of that name, or the member of a family that it spells.

    Raises:
        UsageError: the family has no such member.
    """
    word, hyphen, _ = name.partition("-")
    if name not in STUDENTS and hyphen and word in FAMILIES:
        return FAMILIES[word](name)
    return STUDENTS.get(name)


def needs_images(least_side: int) -> Callable[[Shape], str | None]:
    """A misfit test for architectures that take images of a least side."""

    def misfit(shape: Shape) -> str | None:
        if len(shape) != 3:
            return "it takes images"
        if min(shape[1:]) < least_side:
            return f"it takes images of side {least_side} or more"
        return None

    return misfit
