"""Compress a trained ONNX classifier without its training data.

    from zskd_onnx import compress

    result = compress("teacher.onnx", "out")
    print(result.student, result.agreement)

A name is imported when it is first used, so that importing the package is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zskd_onnx.errors import (
    Cancelled,
    DomainWarning,
    MissingExtraError,
    ParityError,
    PeerLostError,
    QualityError,
    RecipeError,
    UnsupportedTeacherError,
    UsageError,
    ZskdError,
)
from zskd_onnx.version import __version__

if TYPE_CHECKING:
    from zskd_onnx.config.load import load_recipe
    from zskd_onnx.config.recipe import Recipe
    from zskd_onnx.data.calibration_reader import CalibrationReader
    from zskd_onnx.data.npz import EvaluationData
    from zskd_onnx.data.real_samples import RealSamples
    from zskd_onnx.events import Event, Listener
    from zskd_onnx.export.checks import Parity
    from zskd_onnx.importer.cost import Cost
    from zskd_onnx.importer.file.fixed_inputs import Fixed
    from zskd_onnx.importer.file.source import OnnxFile
    from zskd_onnx.importer.fx_graph import ImportedModel
    from zskd_onnx.importer.import_onnx import import_onnx
    from zskd_onnx.importer.write_back import write_back
    from zskd_onnx.metrics.belief_matching import BeliefMatching, Transitions
    from zskd_onnx.metrics.gates import Gate
    from zskd_onnx.metrics.onnx_scores import Accuracies
    from zskd_onnx.pipeline.compress import compress
    from zskd_onnx.pipeline.estimate import Estimate, estimate
    from zskd_onnx.pipeline.evaluate import Evaluation, Quality, evaluate
    from zskd_onnx.pipeline.footprint import Footprint
    from zskd_onnx.pipeline.inspect import Inspection, Suitability, inspect
    from zskd_onnx.pipeline.inspect_thinning import ThinnableGroup, Thinning, inspect_thinning
    from zskd_onnx.pipeline.plan import Plan, prepare
    from zskd_onnx.pipeline.quantization_result import Quantization
    from zskd_onnx.pipeline.quantize import quantize
    from zskd_onnx.pipeline.result import CompressionResult, InputRange, ModelFigures
    from zskd_onnx.pipeline.synthesize import SampleSet, synthesize
    from zskd_onnx.pipeline.verification import Pair, Verification
    from zskd_onnx.pipeline.verify import verify
    from zskd_onnx.quantization.stored_model import StoredModel
    from zskd_onnx.students.choose import Choice
    from zskd_onnx.students.describe import Description, Size
    from zskd_onnx.students.thinning.groups import HeldChannels
    from zskd_onnx.sweeps.grid import Run
    from zskd_onnx.sweeps.sweep import Sweep, sweep
    from zskd_onnx.sweeps.table import Row, Spread, Summary
    from zskd_onnx.sweeps.write_report import write_report
    from zskd_onnx.system.timings import Latency, LatencyComparison
    from zskd_onnx.teacher.load import TeacherOptions, load_teacher
    from zskd_onnx.teacher.probes.answers import Answers
    from zskd_onnx.teacher.signature.domain import Domain
    from zskd_onnx.teacher.signature.head import Head
    from zskd_onnx.teacher.signature.inventory import Inventory
    from zskd_onnx.teacher.signature.output import Labels, Output
    from zskd_onnx.teacher.teacher import Teacher
    from zskd_onnx.tracking.notebook_progress import NotebookProgress

_MODULES = {
    "Accuracies": "metrics.onnx_scores",
    "Answers": "teacher.probes.answers",
    "BeliefMatching": "metrics.belief_matching",
    "CalibrationReader": "data.calibration_reader",
    "Choice": "students.choose",
    "CompressionResult": "pipeline.result",
    "Cost": "importer.cost",
    "Description": "students.describe",
    "Domain": "teacher.signature.domain",
    "Estimate": "pipeline.estimate",
    "Evaluation": "pipeline.evaluate",
    "EvaluationData": "data.npz",
    "Event": "events",
    "Fixed": "importer.file.fixed_inputs",
    "Footprint": "pipeline.footprint",
    "Gate": "metrics.gates",
    "Head": "teacher.signature.head",
    "HeldChannels": "students.thinning.groups",
    "ImportedModel": "importer.fx_graph",
    "InputRange": "pipeline.result",
    "Inspection": "pipeline.inspect",
    "Inventory": "teacher.signature.inventory",
    "Labels": "teacher.signature.output",
    "Latency": "system.timings",
    "LatencyComparison": "system.timings",
    "Listener": "events",
    "ModelFigures": "pipeline.result",
    "NotebookProgress": "tracking.notebook_progress",
    "OnnxFile": "importer.file.source",
    "Output": "teacher.signature.output",
    "Pair": "pipeline.verification",
    "Parity": "export.checks",
    "Plan": "pipeline.plan",
    "Quality": "pipeline.evaluate",
    "Quantization": "pipeline.quantization_result",
    "RealSamples": "data.real_samples",
    "Recipe": "config.recipe",
    "Row": "sweeps.table",
    "Run": "sweeps.grid",
    "SampleSet": "pipeline.synthesize",
    "Size": "students.describe",
    "Spread": "sweeps.table",
    "StoredModel": "quantization.stored_model",
    "Suitability": "pipeline.inspect",
    "Summary": "sweeps.table",
    "Sweep": "sweeps.sweep",
    "Teacher": "teacher.teacher",
    "TeacherOptions": "teacher.load",
    "ThinnableGroup": "pipeline.inspect_thinning",
    "Thinning": "pipeline.inspect_thinning",
    "Transitions": "metrics.belief_matching",
    "Verification": "pipeline.verification",
    "compress": "pipeline.compress",
    "estimate": "pipeline.estimate",
    "evaluate": "pipeline.evaluate",
    "import_onnx": "importer.import_onnx",
    "inspect": "pipeline.inspect",
    "inspect_thinning": "pipeline.inspect_thinning",
    "load_recipe": "config.load",
    "load_teacher": "teacher.load",
    "prepare": "pipeline.plan",
    "quantize": "pipeline.quantize",
    "sweep": "sweeps.sweep",
    "synthesize": "pipeline.synthesize",
    "verify": "pipeline.verify",
    "write_back": "importer.write_back",
    "write_report": "sweeps.write_report",
}

__all__ = [
    "Accuracies",
    "Answers",
    "BeliefMatching",
    "CalibrationReader",
    "Cancelled",
    "Choice",
    "CompressionResult",
    "Cost",
    "Description",
    "Domain",
    "DomainWarning",
    "Estimate",
    "Evaluation",
    "EvaluationData",
    "Event",
    "Fixed",
    "Footprint",
    "Gate",
    "Head",
    "HeldChannels",
    "ImportedModel",
    "InputRange",
    "Inspection",
    "Inventory",
    "Labels",
    "Latency",
    "LatencyComparison",
    "Listener",
    "MissingExtraError",
    "ModelFigures",
    "NotebookProgress",
    "OnnxFile",
    "Output",
    "Pair",
    "Parity",
    "ParityError",
    "PeerLostError",
    "Plan",
    "Quality",
    "QualityError",
    "Quantization",
    "RealSamples",
    "Recipe",
    "RecipeError",
    "Row",
    "Run",
    "SampleSet",
    "Size",
    "Spread",
    "StoredModel",
    "Suitability",
    "Summary",
    "Sweep",
    "Teacher",
    "TeacherOptions",
    "ThinnableGroup",
    "Thinning",
    "Transitions",
    "UnsupportedTeacherError",
    "UsageError",
    "Verification",
    "ZskdError",
    "__version__",
    "compress",
    "estimate",
    "evaluate",
    "import_onnx",
    "inspect",
    "inspect_thinning",
    "load_recipe",
    "load_teacher",
    "prepare",
    "quantize",
    "sweep",
    "synthesize",
    "verify",
    "write_back",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'zskd_onnx' has no attribute '{name}'")
    return getattr(importlib.import_module(f"zskd_onnx.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
