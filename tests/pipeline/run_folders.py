"""Run folders for reports: with real samples, with many classes, with names that nobody should trust."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from zskd_onnx import CompressionResult
from zskd_onnx.metrics.compare import Comparison
from zskd_onnx.pipeline.report_data import ClassAnswers, Errors, ReportData, ShownSamples, Similarity

HOSTILE = "</h3><script>document.title='broken'</script><img src=http://example.com/x.png>"
"""A class name of a file of unknown origin."""

NAMES = (HOSTILE, "$\\frac{1}$ & \"quotes'", "a\x00b\x1b[1m", "猫 cat", "x" * 3000, "{{ 7 * 7 }}")


def edited(finished: CompressionResult, folder: Path, **changes: Any) -> Path:
    """A copy of a run folder with other values in its manifest, and without its transfer set."""
    shutil.copytree(finished.student.parent, folder, ignore=shutil.ignore_patterns("transfer-set", "report.html"))
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def with_classes(finished: CompressionResult, folder: Path, classes: int, side: int = 64) -> Path:
    """A copy of a run folder as a teacher of many classes would have it, with hostile names and noise as samples."""
    names = [*NAMES, *(f"class {number}" for number in range(classes - len(NAMES)))]
    torch.manual_seed(0)
    samples = 2 * classes
    predicted = torch.arange(samples) % classes
    student = torch.where(torch.rand(samples) < 0.9, predicted, predicted.roll(1))
    comparison = Comparison(0.9, 1.0, 0.9, 1.0, classes, samples, predicted, student, torch.rand(samples))
    weight = torch.nn.functional.normalize(torch.randn(classes, 64), dim=1)
    edited(
        finished,
        folder,
        answers={"classes": classes},
        class_names=names,
        accuracy={"teacher": 1.0, "student": 0.9},
        evaluation_agreement=0.9,
        evaluation_samples=samples,
        input={
            "name": HOSTILE,
            "dtype": "float32",
            "layout": "NHWC",
            "layout_source": "option",
            "shape": [side, side, 3],
        },
        input_range={"low": [0, 0, 0], "high": [1, 2, 3], "source": HOSTILE, "certainty": "assumed", "words": ""},
        warnings=["the input range is assumed", HOSTILE],
    )
    ReportData(
        ShownSamples.of(
            torch.rand(samples if classes < 200 else 24, 3, side, side), _first(comparison, classes), classes
        ),
        ClassAnswers.of(comparison, classes),
        Similarity.of(weight @ weight.T),
        Errors.of(predicted, student, predicted, classes),
    ).write(folder / "report.npz")
    return folder


def _first(comparison: Comparison, classes: int) -> Comparison:
    """Of many classes, the predictions on a few samples are enough to show some."""
    if classes < 200:
        return comparison
    few = torch.arange(24) % 12
    return Comparison(0.9, 1.0, 0.9, 1.0, 12, 24, few, few, torch.linspace(0, 1, 24))
