"""ONNX's own node conformance suite on the importer."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from benchmarks import conformance
from zskd_onnx.importer.operators.registry import registered

REFUSED = {
    # Training mode is random, or updates the statistics.
    *("test_batchnorm_example_training_mode", "test_batchnorm_epsilon_training_mode"),
    *("test_training_dropout_default", "test_training_dropout_default_mask"),
    *("test_training_dropout", "test_training_dropout_mask"),
    # Sequences and optionals are not tensors.
    *("test_if_seq", "test_if_opt", "test_loop13_seq", "test_loop16_seq_none"),
}


@pytest.fixture(scope="module")
def outcomes() -> list[conformance.Outcome]:
    return [conformance.judge(case) for case in conformance.cases()]


def test_all_other_cases_pass(outcomes: list[conformance.Outcome]) -> None:
    assert {o.case: o.reason for o in outcomes if o.verdict != "pass" and o.case not in REFUSED} == {}
    assert sum(o.verdict == "pass" for o in outcomes) >= 0.97 * len(outcomes)


def test_no_case_is_silently_wrong(outcomes: list[conformance.Outcome]) -> None:
    assert {o.case: o.reason for o in outcomes if o.verdict == "wrong"} == {}


def test_refusals_are_of_the_expected_types(outcomes: list[conformance.Outcome]) -> None:
    refused = [o for o in outcomes if o.verdict == "refused"]
    kinds = {o.reason.split(":", 1)[0] for o in refused}
    assert kinds <= {"UnsupportedTeacherError", "NotImplementedError"}


def test_every_family_has_a_case(outcomes: list[conformance.Outcome]) -> None:
    measured = {conformance.FAMILY[o.operator] for o in outcomes}
    assert measured == set(conformance.FAMILIES)


def test_all_listed_operators_are_registered() -> None:
    """If and Loop are inlined before the import; the suite has no case for GlobalLpPool."""
    names = {name for domain, name, _ in registered() if domain == ""}
    assert set(conformance.FAMILY) - names == {"If", "Loop"}


def test_documentation_lists_all_registered_operators() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operators.md").read_text(encoding="utf-8")
    assert conformance.operators() in page


@pytest.mark.skipif(onnx.__version__ != "1.23.2", reason="the figures are for onnx 1.23.2")
def test_documentation_has_the_measured_figures(outcomes: list[conformance.Outcome]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "operators.md").read_text(encoding="utf-8")
    assert conformance.table(outcomes) in page
