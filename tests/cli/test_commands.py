"""``evaluate``, ``sweep`` and ``students`` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import SMALL_OPTIONS, Cli
from tests.students.thinning.graphs import graph_of
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.students.choose import build, choose
from zskd_onnx.students.describe import parameters
from zskd_onnx.students.zoo.architecture import STUDENTS
from zskd_onnx.teacher.load import load_teacher


@pytest.fixture
def digits_data(tmp_path: Path) -> Path:
    x, y = held_out_digits()
    np.savez(tmp_path / "digits.npz", x=x, y=y)
    return tmp_path / "digits.npz"


def test_evaluate(run: Cli, digits_file: Path, digits_data: Path, tmp_path: Path) -> None:
    walks = ["--belief-matching", "--samples", "5", "--steps", "6", "--rate", "0.5", "--plot", "curves.png"]
    command = ["evaluate", digits_file, "--teacher", digits_file, "--eval-data", digits_data, *walks]
    done = run(*command, "--format", "json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["agreement"] == 1
    assert content["accuracy"]["teacher"] == content["accuracy"]["student"] > 0.98
    assert len(content["class_accuracy"]["student"]) == 10
    assert content["belief_matching"]["mean_transition_error"] == 0
    assert len(content["belief_matching"]["curves"]["student"]) == 6
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "5 samples, 45 " in done.stderr
    assert content["schema_version"] == 2


def test_evaluate_prints_a_table(run: Cli, digits_file: Path, digits_data: Path) -> None:
    done = run("evaluate", digits_file, "--teacher", digits_file, "--eval-data", digits_data)
    assert done.returncode == 0, done.stderr
    names = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert names[:4] == ["student", "samples", "agreement", "divergence"]
    assert sum(name.startswith("class ") for name in names) == 10
    nowhere = run(
        *("evaluate", digits_file, "--teacher", digits_file, "--eval-data", digits_data),
        *("--belief-matching", "--plot", "nowhere/c.png"),
    )
    assert nowhere.returncode == 2
    missing = run(*("evaluate", digits_file, "--teacher", digits_file, "--eval-data", digits_data), "--plot", "c.png")
    assert missing.returncode == 2
    assert "--belief-matching" in missing.stderr


def test_sweep(run: Cli, digits_file: Path, tmp_path: Path) -> None:
    arguments = ["--recipe", "zskd", "--recipe", "deep-inversion", *SMALL_OPTIONS, "--seeds", "2", "-o", "out"]
    done = run("sweep", digits_file, *arguments)
    assert done.returncode == 0, done.stderr
    first, zskd, unsuited = done.stdout.splitlines()
    assert first == str(Path("out") / "sweep.csv")
    assert "±" in zskd
    assert "failed 2" in unsuited
    assert done.stderr.count("0 to 16") == 1  # a note is told once
    again = run("sweep", digits_file, *arguments, "--format", "json")
    assert again.returncode == 0, again.stderr
    assert len(json.loads(again.stdout)["runs"]) == 4
    assert "synthesis" not in again.stderr.replace("synthesis.", "")


def test_sweep_that_fails(run: Cli, digits_file: Path) -> None:
    done = run("sweep", digits_file, "--recipe", "deep-inversion", "--format", "json")
    assert done.returncode == 1
    assert "all 1 runs failed" in json.loads(done.stdout)["error"]["message"]
    for wrong in (("--set", "epochs"), ("--set", "distillation.epochs=abc"), ("--recipe", "nothing")):
        assert run("sweep", digits_file, *wrong).returncode == 2


def test_students(run: Cli, digits_file: Path) -> None:
    listed = json.loads(run("students", "list", "--format", "json").stdout)["students"]
    assert {entry["name"]: entry["summary"] for entry in listed} == {s.name: s.summary for s in STUDENTS.values()}
    assert "cnn-W" in run("students", "list").stdout

    done = run("students", "list", "--teacher", digits_file, "--format", "json")
    content = json.loads(done.stdout)
    entries = content["students"]
    thinned = entries[:3]
    assert [(entry["name"], entry["parameters"]) for entry in thinned[1:]] == [
        ("thin:0.5", 7_666),
        ("thin:0.25", 2_153),
    ]
    assert all(entry["milliseconds"] > 0 for entry in (content["teacher"], *thinned))
    assert "1 thread, batch 1" in content["milliseconds"]
    sizes = {entry["name"]: entry["parameters"] for entry in entries if entry["unsupported_reason"] is None}
    assert "lenet5" not in sizes  # images of 8x8 are too small
    teacher = load_teacher(digits_file)
    for name in ("mlp-small", "cnn-small"):
        module = build(choose(name, teacher.domain.shape), teacher.domain.shape, 10, 0)
        assert sizes[name] == parameters(module)
    text = run("students", "list", "--teacher", digits_file).stdout
    assert f"{teacher.parameters_count:,} parameters (100.0%), {teacher.cost.multiply_adds:,} multiply-adds" in text
    share = sizes["cnn-small"] / teacher.parameters_count
    assert f"{sizes['cnn-small']:,} parameters ({share:.1%})" in text
    assert "thin:0.5        7,666 parameters (24.0%), 84,720 multiply-adds per sample, 0." in text


def test_students_of_a_teacher_that_cannot_be_thinned(run: Cli, tmp_path: Path) -> None:
    onnx.save(graph_of("f = Flatten(x) y = Gemm<transB = 1>(f, w)", {"w": (4, 108)}), tmp_path / "linear.onnx")
    command = ("students", "list", "--teacher", tmp_path / "linear.onnx", "--input-range", "0,1")
    done = run(*command)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("no thinned versions: ")
    assert "thin:" not in done.stdout
    assert "432 parameters (100.0%)" in done.stdout
    assert run(*command, "--quiet").stderr == ""
