"""Warnings of a result whose student is of no use."""

from __future__ import annotations

import pytest
import torch

from zskd_onnx.metrics.compare import Comparison
from zskd_onnx.metrics.onnx_scores import Accuracies
from zskd_onnx.pipeline.result_warnings import result_warnings
from zskd_onnx.teacher.probes.answers import summarise
from zskd_onnx.teacher.signature.domain import Domain

DOMAIN = Domain("x", "float32", "NCHW", (1, 8, 8), (0.0,), (1.0,), "option", "option", "known")
ANSWERS = summarise(5 * torch.eye(10).repeat(40, 1))


def compared(agreement: float, named: int, samples: int) -> Comparison:
    none = torch.zeros(0)
    return Comparison(agreement, 0.5, agreement, 1.0, named, samples, none, none, none)


@pytest.mark.parametrize(
    ("agreement", "samples", "named", "words"),
    [
        (0.95, 100, 10, []),
        (0.45, 450, 10, []),  # poor, but no guess
        (0.11, 100, 4, ["near chance (10 %) or below"]),  # of an untrained student
        (0.0, 20, 2, ["near chance (10 %) or below"]),  # below, though the samples are few
        (0.1, 1000, 1, ["the same class", "near chance (10 %) or below"]),
    ],
)
def test_a_student_no_better_than_chance(agreement: float, samples: int, named: int, words: list[str]) -> None:
    comparison = compared(agreement, named, samples)
    warnings = result_warnings(DOMAIN, ANSWERS, comparison, None)
    assert len(warnings) == len(words)
    assert all(part in warning for part, warning in zip(words, warnings, strict=True))


@pytest.mark.parametrize(("student", "warned"), [(0.93, True), (0.95, False)])
def test_a_student_far_below_its_teacher(student: float, warned: bool) -> None:
    """The range is known from an option, which may be wrong."""
    accuracy = Accuracies(0.99, student, 0.9)
    warnings = result_warnings(DOMAIN, ANSWERS, compared(0.9, 10, 100), accuracy)
    assert len(warnings) == warned
    assert all("6.0 points below" in warning and "in the range 0..1 (option)" in warning for warning in warnings)
