"""Tables and JSON objects on stdout."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import WIDTHS, Snapshot, assert_whole
from zskd_onnx.cli.choices import Format
from zskd_onnx.cli.print_compression import best_step, print_compression, result_rows
from zskd_onnx.cli.results import SCHEMA_VERSION, duration, percent, print_result, print_table, table_lines
from zskd_onnx.export.checks import Parity
from zskd_onnx.metrics.onnx_scores import Accuracies
from zskd_onnx.pipeline.result import CompressionResult, InputRange, ModelFigures
from zskd_onnx.system.timings import Latency, LatencyComparison
from zskd_onnx.teacher.probes.answers import Answers

LATENCY = LatencyComparison(Latency(0.001_234, 0.002), Latency(0.000_65, 0.000_7), "CPU, 2 threads, batch 1")


@pytest.fixture
def result() -> CompressionResult:
    validations = [
        {"step": 10_000, "loss": 0.2, "accuracy": 0.9712},
        {"step": 20_000, "loss": 0.1, "accuracy": 0.9823},
        {"step": 28_125, "loss": 0.1, "accuracy": 0.9821},
    ]
    return CompressionResult(
        student=Path("a-folder-with-a-long-name") / "runs" / "best-synthesis.count=48000-seed-0" / "student.onnx",
        parity=Parity(2.4e-07, 0.0001),
        agreement=0.9876,
        confident=0.843,
        confident_agreement=0.9981,
        accuracy=Accuracies(teacher=0.9911, student=0.9822, agreement=0.985),
        teacher_size=ModelFigures("teacher.onnx", 1_234_567, 61_706, 416_520),
        student_size=ModelFigures("student.onnx", 234_567, 35_820, 170_160),
        seconds={"teacher": 4.2, "synthesis": 640.1, "distillation": 7801.0, "fine-tuning": 119.0, "deployment": 17.0},
        answers=Answers(10, 1024, 10, 0.99, 3, 0.69, 0.9, 4.2),
        domain=InputRange((0.0,), (255.0,), "", "inferred", "in the inferred range 0..255"),
        warnings=(
            "the layout is assumed to be NCL: if the input's axes are in another order, the student will be poor",
            "the student predicts the same class for every held-out sample",
        ),
        notes=(),
        history={"distillation": validations, "fine-tuning": []},
        chosen={"distillation": 28_125},
        gates=(),
        missed_gates=(),
        latency=LATENCY,
        manifest=Path("out") / "manifest.json",
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_a_run_is_whole(snapshot: Snapshot, result: CompressionResult, width: int) -> None:
    text = "\n".join(table_lines(result_rows(result), width)) + "\n"
    assert_whole(text, width)
    snapshot(f"result-{width}", text)


def test_a_student_that_is_no_smaller_is_not_called_so(result: CompressionResult) -> None:
    larger = replace(result, student_size=ModelFigures("student.onnx", 9_999_999, 175_000, 170_160))
    assert result_rows(larger)["parameters"].endswith("(more than the teacher; choose a smaller --student)")
    assert result_rows(larger)["multiply-adds"] == "416,520 -> 170,160 (2.4 times fewer) per sample"


@pytest.mark.parametrize("terminal", [True, False])
def test_values_wrap_under_their_column_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    print_table({"name": "a " * 30, "longer name": "b"})
    first, *more = capsys.readouterr().out.splitlines()
    assert first.startswith("name         a a")
    assert len(first) == (40 if terminal else 72)
    assert more[:-1] == (["             " + "a " * 13 + "a", "             a a"] if terminal else [])
    assert more[-1] == "longer name  b"


def test_words_longer_than_the_column_are_broken_and_not_cut() -> None:
    lines = table_lines({"path": "x" * 100}, 60)
    assert "".join(line[6:] for line in lines) == "x" * 100
    assert max(map(len, lines)) <= 60


def test_a_table_of_nothing() -> None:
    assert table_lines({}, 80) == []
    assert table_lines({"a": ""}, 80) == ["a"]


def test_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"a": 1}, {"b": "2"}, Format.JSON)
    assert json.loads(capsys.readouterr().out) == {"schema_version": SCHEMA_VERSION, "a": 1}
    assert SCHEMA_VERSION == 2
    print_result({"a": 1}, {"b": "2"}, Format.TEXT)
    assert capsys.readouterr().out == "b  2\n"


def test_the_path_of_the_student_comes_first_and_alone(
    result: CompressionResult, capsys: pytest.CaptureFixture[str]
) -> None:
    print_compression(result, Format.TEXT)
    assert capsys.readouterr().out.splitlines()[0] == str(result.student)
    print_compression(result, Format.JSON)
    content = json.loads(capsys.readouterr().out)
    assert content["student"] == str(result.student)
    assert content["confident"] == {"share": 0.843, "agreement": 0.9981}


def test_the_best_step_with_and_without_an_accuracy() -> None:
    validations = [{"step": 40, "loss": 0.1}, {"step": 80, "loss": 0.2, "accuracy": 0.5}]
    assert best_step(validations, 40) == "40 of 80"
    assert best_step(validations, 80) == "80 of 80: accuracy 50.00 %, the best of all steps 50.00 %"


def test_numbers_for_people() -> None:
    assert [duration(s) for s in (0.4, 119, 121, 7199, 9000)] == ["0 s", "119 s", "2 min", "120 min", "2.5 h"]
    assert percent(0.98765) == "98.77 %"
