"""Students that are Python objects: modules and their factories, by names that a run can record."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from zskd_onnx.errors import UsageError
from zskd_onnx.students.zoo.architecture import Factory

PREFIX = "python:"
"""Begin of the name of an object that only this process has."""

_OBJECTS: dict[str, Factory] = {}


def name_of(student: str | nn.Module | Callable[..., Any]) -> str:
    """The name of a student as ``compress`` records it.

    A function or class of an importable module is named "module:name", and any process finds it. Other objects,
    such as those of a notebook, have a name in this process alone.

    Args:
        student: a name, a module, whose weights are the initial ones, or a factory or class that is called with the
            shape of one sample and the number of classes.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(student, str):
        return student
    if isinstance(student, nn.Module):
        return _register(type(student).__qualname__, lambda shape, classes: copy.deepcopy(student))
    if not callable(student):
        raise UsageError(f"student: expected a name, a torch.nn.Module or a factory, got {type(student).__name__}")
    name = getattr(student, "__qualname__", type(student).__qualname__)
    module = getattr(student, "__module__", "__main__")
    if module != "__main__" and getattr(importlib.import_module(module), name, None) is student:
        return f"{module}:{name}"
    return _register(name, student)


def own_object(name: str) -> Factory:
    """The factory of a name that begins with ``PREFIX``.

    Raises:
        UsageError: this process has no such object, because another one started the run.
    """
    factory = _OBJECTS.get(name)
    if factory is None:
        raise UsageError(
            f"student '{name}': was an object of the program that started the run; give it again as student=..."
        )
    return factory


def _register(name: str, factory: Factory) -> str:
    _OBJECTS[f"{PREFIX}{name}"] = factory
    return f"{PREFIX}{name}"
