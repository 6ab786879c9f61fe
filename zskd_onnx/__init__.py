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
    from zskd_onnx.config.recipe import Recipe, load_recipe
    from zskd_onnx.metrics.belief_matching import BeliefMatching
    from zskd_onnx.pipeline.compress import compress
    from zskd_onnx.pipeline.evaluate import Evaluation, evaluate
    from zskd_onnx.pipeline.inspect import inspect
    from zskd_onnx.pipeline.plan import Plan, prepare
    from zskd_onnx.pipeline.result import CompressionResult
    from zskd_onnx.pipeline.verify import Verification, verify
    from zskd_onnx.sweeps.sweep import Sweep, sweep
    from zskd_onnx.teacher.load import load_teacher
    from zskd_onnx.teacher.teacher import Teacher

_HOME = {
    "BeliefMatching": "metrics.belief_matching",
    "CompressionResult": "pipeline.result",
    "Evaluation": "pipeline.evaluate",
    "Plan": "pipeline.plan",
    "Recipe": "config.recipe",
    "Sweep": "sweeps.sweep",
    "Teacher": "teacher.teacher",
    "Verification": "pipeline.verify",
    "compress": "pipeline.compress",
    "evaluate": "pipeline.evaluate",
    "inspect": "pipeline.inspect",
    "load_recipe": "config.recipe",
    "load_teacher": "teacher.load",
    "prepare": "pipeline.plan",
    "sweep": "sweeps.sweep",
    "verify": "pipeline.verify",
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
