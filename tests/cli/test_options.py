"""Options that are checked before torch is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Cli
from zskd_onnx.cli.completion import STUDENT_NAMES
from zskd_onnx.cli.options import check_run_options, expect_student
from zskd_onnx.errors import UsageError
from zskd_onnx.students.zoo.architecture import FAMILIES


@pytest.mark.parametrize("name", [*STUDENT_NAMES, "auto", "half", "mine.py:factory", *(f"{f}-8" for f in FAMILIES)])
def test_students_that_may_exist(name: str) -> None:
    expect_student(name)


@pytest.mark.parametrize(("name", "hint"), [("lenet", "did you mean 'lenet5'?"), ("qqqq", "zskd-onnx students list")])
def test_students_that_do_not_exist(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"student '{name}' does not exist; ") as caught:
        expect_student(name)
    assert hint in str(caught.value)


def test_a_student_that_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.onnx: no such file; expected the ONNX model of a student"):
        expect_student(str(tmp_path / "no.onnx"))
    (tmp_path / "small.onnx").touch()
    expect_student(str(tmp_path / "small.onnx"))


def test_options_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.zeros(3))
    check_run_options(None, [], None, path, None)
    with pytest.raises(UsageError, match="has no labels y"):
        check_run_options(None, [], None, None, path)
    with pytest.raises(UsageError, match="--set epochs: unknown key"):
        check_run_options("zskd", ["epochs=3"], None, path, None)


def test_a_sweep_names_the_key(run: Cli, digits_file: Path) -> None:
    done = run("sweep", digits_file, "--set", "epochs=1,2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean distillation.epochs" in done.stderr


def test_a_list_of_values_points_to_sweep(run: Cli, digits_file: Path) -> None:
    done = run("compress", digits_file, "--set", "synthesis.count=1000,9000")
    assert done.returncode == 2
    assert "'zskd-onnx sweep' makes a run for each of several" in done.stderr
