"""What a converter is put to, one function for each row of the table."""

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
    TESTS[function.__name__] = function
    return function


@functools.cache
def _cases() -> dict[str, TestCase]:
    return {case.name: case for case in conformance.cases()}


@test
def operator(converter: Converter, case: str) -> Verdict:
    """One case of ONNX's node suite, named."""
    outcome = conformance.judge(_cases()[case], converter.graph)
    return Verdict(outcome.verdict, outcome.reason)


@test
def architecture(converter: Converter, path: str) -> Verdict:
    """A file of ``timm_models``: values at two batch sizes, other than its own where it has one; the input gradient."""
    file = Path(path)
    return agrees(converter, file, (2, 3), reference_of(file.name.split(".")[0], file.parent))


@test
def one_sample(converter: Converter, path: str) -> Verdict:
    """A file at batch size 1 alone."""
    return agrees(converter, Path(path), (1,))


@test
def any_batch(converter: Converter, path: str) -> Verdict:
    """A file at two batch sizes."""
    return agrees(converter, Path(path), (2, 3))


@test
def graph_breaks(converter: Converter, path: str) -> Verdict:
    """Passes if ``torch.compile`` sees the module as one graph; the reason is the count."""
    module = converter.classifier(Path(path))
    found = torch._dynamo.explain(module)(torch.zeros(2, 3, 224, 224))
    return Verdict("pass" if found.graph_break_count == 0 else "refused", str(found.graph_break_count))
