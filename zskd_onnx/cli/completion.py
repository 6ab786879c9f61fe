"""Completers for the shell. They answer at once, so they never import torch or pydantic."""

from __future__ import annotations

import glob

from zskd_onnx.config.key_names import RECIPE_KEYS
from zskd_onnx.tracking.base import TRACKERS

STUDENT_NAMES = (
    "alexnet",
    "alexnet-half",
    "cnn",
    "cnn-small",
    "lenet5",
    "lenet5-half",
    "mlp",
    "mlp-small",
    "resnet18",
    "resnet34",
    "vgg-small",
    "vgg-small-half",
    "wrn-16-1",
    "wrn-16-2",
    "wrn-40-1",
    "wrn-40-2",
)
"""The registered architectures; a copy, because the registry imports torch."""


def complete_recipe(incomplete: str) -> list[str]:
    """Built-in recipes and .yaml files."""
    return [*complete_built_in_recipe(incomplete), *sorted(glob.glob(f"{glob.escape(incomplete)}*.yaml"))]


def complete_built_in_recipe(incomplete: str) -> list[str]:
    """Built-in recipes."""
    from zskd_onnx.config.files import all_recipe_names

    return [name for name in all_recipe_names() if name.startswith(incomplete)]


def complete_student(incomplete: str) -> list[str]:
    """Architectures and the two words that choose one."""
    return [name for name in ("auto", "half", *STUDENT_NAMES) if name.startswith(incomplete)]


def complete_tracker(incomplete: str) -> list[str]:
    """Experiment trackers."""
    return [name for name in TRACKERS if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[str]:
    """Keys of a recipe, each with "=" behind it."""
    return [f"{key}=" for key in complete_key(incomplete)]


def complete_key(incomplete: str) -> list[str]:
    """Keys of a recipe."""
    return [key for key in RECIPE_KEYS if key.startswith(incomplete)]
