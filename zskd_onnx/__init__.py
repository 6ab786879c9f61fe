"""Compress a trained ONNX classifier without its training data.

    from zskd_onnx import compress

    result = compress("teacher.onnx", "out")
    print(result.student, result.agreement)

Names are imported when they are first used, so that importing the package is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zskd_onnx.errors import (
    MissingExtraError,
    ParityError,
    QualityError,
    RecipeError,
    UnsupportedTeacherError,
    UsageError,
    ZskdError,
)
from zskd_onnx.version import __version__

if TYPE_CHECKING:
    from zskd_onnx.compression import compress
    from zskd_onnx.evaluation import Evaluation, evaluate
    from zskd_onnx.inspection import inspect
    from zskd_onnx.measures import BeliefMatching
    from zskd_onnx.planning import Plan, prepare
    from zskd_onnx.recipe import Recipe, load_recipe
    from zskd_onnx.result import CompressionResult
    from zskd_onnx.sweeps import Sweep, sweep
    from zskd_onnx.teacher import Teacher, load_teacher
    from zskd_onnx.verification import Verification, verify

_HOME = {
    "BeliefMatching": "measures",
    "CompressionResult": "result",
    "Evaluation": "evaluation",
    "Plan": "planning",
    "Recipe": "recipe",
    "Sweep": "sweeps",
    "Teacher": "teacher",
    "Verification": "verification",
    "compress": "compression",
    "evaluate": "evaluation",
    "inspect": "inspection",
    "load_recipe": "recipe",
    "load_teacher": "teacher",
    "prepare": "planning",
    "sweep": "sweeps",
    "verify": "verification",
}

__all__ = [
    "BeliefMatching",
    "CompressionResult",
    "Evaluation",
    "MissingExtraError",
    "ParityError",
    "Plan",
    "QualityError",
    "Recipe",
    "RecipeError",
    "Sweep",
    "Teacher",
    "UnsupportedTeacherError",
    "UsageError",
    "Verification",
    "ZskdError",
    "__version__",
    "compress",
    "evaluate",
    "inspect",
    "load_recipe",
    "load_teacher",
    "prepare",
    "sweep",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'zskd_onnx' has no attribute '{name}'")
    return getattr(importlib.import_module(f"zskd_onnx.{_HOME[name]}"), name)
