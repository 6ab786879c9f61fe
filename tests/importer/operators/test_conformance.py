"""ONNX's own node conformance suite, through the importer."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from benchmarks import conformance
from zskd_onnx.importer.operators.registry import registered

REFUSED = {
    # What training does is random or rewrites the statistics; a teacher is in inference mode.
    *("test_batchnorm_example_training_mode", "test_batchnorm_epsilon_training_mode"),
    *("test_training_dropout_default", "test_training_dropout_default_mask"),
    *("test_training_dropout", "test_training_dropout_mask"),
    # Sequences and optionals are no tensors.
    *("test_if_seq", "test_if_opt", "test_loop13_seq", "test_loop16_seq_none"),
}


@pytest.fixture(scope="module")
def outcomes() -> list[conformance.Outcome]:
    return [conformance.judge(case) for case in conformance.cases()]


def test_every_sensible_case_passes(outcomes: list[conformance.Outcome]) -> None:
    assert {o.case: o.reason for o in outcomes if o.verdict != "pass" and o.case not in REFUSED} == {}
    assert sum(o.verdict == "pass" for o in outcomes) >= 0.97 * len(outcomes)


def test_none_is_silently_wrong(outcomes: list[conformance.Outcome]) -> None:
    assert {o.case: o.reason for o in outcomes if o.verdict == "wrong"} == {}


def test_refusals_say_what_is_not_supported(outcomes: list[conformance.Outcome]) -> None:
    refused = [o for o in outcomes if o.verdict == "refused"]
    kinds = {o.reason.split(":", 1)[0] for o in refused}
    assert kinds <= {"UnsupportedTeacherError", "NotImplementedError"}


def test_every_family_is_measured(outcomes: list[conformance.Outcome]) -> None:
    measured = {conformance.FAMILY[o.operator] for o in outcomes}
    assert measured == set(conformance.FAMILIES)


def test_operators_without_cases_are_registered_too() -> None:
    """If and Loop are written out before import; the suite has no case for GlobalLpPool."""
    names = {name for domain, name, _ in registered() if domain == ""}
    assert set(conformance.FAMILY) - names == {"If", "Loop"}


def test_the_documentation_lists_what_is_registered() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operators.md").read_text(encoding="utf-8")
    assert conformance.operators() in page


@pytest.mark.skipif(onnx.__version__ != "1.23.2", reason="the suite that the figures are for")
def test_the_documentation_gives_the_measured_figures(outcomes: list[conformance.Outcome]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "operators.md").read_text(encoding="utf-8")
    assert conformance.table(outcomes) in page
