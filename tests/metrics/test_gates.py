"""Quality gates."""

from __future__ import annotations

import pytest

from zskd_onnx.metrics.gates import Gate, Gates, missed


@pytest.mark.parametrize(
    ("gate", "passed", "text"),
    [
        (Gate("min_agreement", 0.9, 0.9), True, "agreement 0.9000, expected 0.9 or more"),
        (Gate("min_accuracy", 0.9, 0.8), False, "accuracy 0.8000, expected 0.9 or more; train longer"),
        (Gate("max_accuracy_drop", 0.01, 0.02), False, "accuracy drop 0.0200, expected 0.01 or less; train longer"),
        (Gate("max_latency_ratio", 0.5, 0.7), False, "latency ratio 0.7000, expected 0.5 or less; take a smaller"),
        (Gate("max_latency_ratio", 0.5, 0.5), True, "latency ratio 0.5000, expected 0.5 or less"),
    ],
)
def test_one_gate(gate: Gate, passed: bool, text: str) -> None:
    assert gate.passed is passed
    assert str(gate).startswith(text)
    assert bool(missed((gate,))) is not passed


def test_gates_without_a_limit_or_a_figure_are_left_out() -> None:
    gates = Gates(min_agreement=0.5, max_accuracy_drop=0.0, max_latency_ratio=2.0)
    judged = gates.judge(agreement=0.6, accuracy=0.75, teacher_accuracy=1.0, latency_ratio=None)
    assert judged == (Gate("min_agreement", 0.5, 0.6), Gate("max_accuracy_drop", 0.0, 0.25))
    assert gates.need_labels == ["max_accuracy_drop"]
    assert Gates().asked == {}
