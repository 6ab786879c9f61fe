"""The tests of a converter, one function for each kind of row."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import conformance
import torch
from onnx.backend.test.case.test_case import TestCase
from timm_models import reference_of

from comparison.agreement import agrees
from comparison.converter import Converter
from comparison.verdict import Verdict

Test = Callable[[Converter, str], Verdict]
TESTS: dict[str, Test] = {}


def test(function: Test) -> Test:
    """Register a test under its name."""
    TESTS[function.__name__] = function
    return function


@functools.cache
def _cases() -> dict[str, TestCase]:
    return {case.name: case for case in conformance.cases()}


@test
def operator(converter: Converter, case: str) -> Verdict:
    """A case of ONNX's node suite, by its name."""
    outcome = conformance.judge(_cases()[case], converter.graph)
    return Verdict(outcome.verdict, outcome.reason)


@test
def architecture(converter: Converter, path: str) -> Verdict:
    """A file of ``timm_models`` at batch sizes 2 and 3, and its input gradient."""
    file = Path(path)
    return agrees(converter, file, (2, 3), reference_of(file.name.split(".")[0], file.parent))


@test
def one_sample(converter: Converter, path: str) -> Verdict:
    """A file at batch size 1."""
    return agrees(converter, Path(path), (1,))


@test
def any_batch(converter: Converter, path: str) -> Verdict:
    """A file at batch sizes 2 and 3."""
    return agrees(converter, Path(path), (2, 3))


@test
def graph_breaks(converter: Converter, path: str) -> Verdict:
    """Whether ``torch.compile`` needs no graph break for the module; the reason is their number."""
    module = converter.classifier(Path(path))
    breaks = torch._dynamo.explain(module)(torch.zeros(2, 3, 224, 224)).graph_break_count
    return Verdict("pass" if breaks == 0 else "refused", str(breaks))
