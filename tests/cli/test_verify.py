"""What ``verify`` prints, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx

from tests.conftest import Cli, Exports
from zskd_onnx import CompressionResult


def test_verify(run: Cli, finished: CompressionResult, digits_file: Path) -> None:
    folder = finished.student.parent
    done = run("verify", folder, "--teacher", digits_file, "--format", "json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert (content["digest"], content["interface"]) == ("matches", "fits")
    missed = run("verify", folder, "--teacher", digits_file, "--min-agreement", "1")
    assert missed.returncode == 5
    assert "agreement" in missed.stderr.splitlines()[-1]


def test_verify_prints_a_table(run: Cli, finished: CompressionResult) -> None:
    done = run("verify", finished.student)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["student", "parity", "digest", "interface"]


def test_verify_notices_a_changed_file(run: Cli, finished: CompressionResult, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.student.parent, folder)
    model = onnx.load(folder / "student.onnx")
    model.doc_string = "touched"
    onnx.save(model, folder / "student.onnx")
    done = run("verify", folder)
    assert done.returncode == 4
    assert "the file was changed" in done.stderr


def test_verify_notices_a_student_of_another_teacher(run: Cli, finished: CompressionResult, exports: Exports) -> None:
    done = run("verify", finished.student, "--teacher", exports.path("lenet5", "17"))
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
