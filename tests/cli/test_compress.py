"""What ``compress`` prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SMALL_OPTIONS, Cli
from zskd_onnx.cli.compress import _kept
from zskd_onnx.pipeline.demo import held_out_digits


def test_compress_prints_one_json_object(cli: Cli, tmp_path: Path, digits_file: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((20, 8, 8), np.uint8), y=np.arange(20) % 10)
    done = cli(
        *("compress", digits_file, "--output", "out", *SMALL_OPTIONS),
        *("--eval-data", "data.npz", "--seed", "3", "--format", "json"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["schema_version"] == 1
    assert (tmp_path / result["student"]).is_file()
    assert set(result["parity"]) == {"max_abs_difference", "tolerance"}
    assert 0 <= result["agreement"] <= 1
    assert 0 < result["sure"]["share"] < 1
    assert 0 <= result["sure"]["agreement"] <= 1
    assert set(result["accuracy"]) == {"teacher", "student"}
    assert set(result["chosen"]) == {"distillation"}
    assert result["accuracy"]["teacher"] == pytest.approx(0.1)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["seed"] == 3
    assert "synthesis" in done.stderr


def test_compress_prints_the_path_and_a_table(cli: Cli, tmp_path: Path, digits_file: Path) -> None:
    x, y = held_out_digits()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    gate = ("--set", "deployment.min_agreement=1", "--eval-data", "data.npz")
    done = cli("compress", digits_file, "-o", "out", *SMALL_OPTIONS, *gate)
    assert done.returncode == 5
    lines = done.stdout.splitlines()
    assert lines[0] == str(Path("out") / "student.onnx")
    rows = {"accuracy", "agreement", "kept", "parity", "parameters", "file", "time"}
    assert {line.split()[0] for line in lines[1:]} == rows
    [agreement] = [line for line in lines if line.startswith("agreement")]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    history, step = manifest["history"]["distillation"], manifest["chosen"]["distillation"]
    [scored] = [found["accuracy"] for found in history if found["step"] == step]
    best = max(found["accuracy"] for found in history)
    [kept] = [line for line in lines if line.startswith("kept (distillation)")]
    assert f"of step {step} of {history[-1]['step']}, {100 * scored:.2f} %; the best of any {100 * best:.2f} %" in kept
    sure = manifest["sure"]
    assert (
        f"{100 * sure['agreement']:.2f} % on the {100 * sure['share']:.0f} % of which it is at least 90 % sure"
        in agreement
    )
    assert (tmp_path / "out" / "student.onnx").is_file()
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_a_student_kept_from_before_it_was_scored() -> None:
    """``--eval-data`` may come with ``--resume`` alone."""
    history = [{"step": 40, "loss": 0.1}, {"step": 80, "loss": 0.2, "accuracy": 0.5}]
    assert _kept(history, 40) == "of step 40 of 80"
    assert _kept(history, 80) == "of step 80 of 80, 50.00 %; the best of any 50.00 %"
