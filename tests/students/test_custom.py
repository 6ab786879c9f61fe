"""Students from the user's own code."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from torch import nn

from tests.conftest import SMALL
from zskd_onnx import UsageError, compress, load_recipe, prepare
from zskd_onnx.students.choose import build, choose
from zskd_onnx.students.describe import parameters

SHAPE = (1, 8, 8)

FACTORIES = """
from torch import nn

def student(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))

def wrong_count(shape, classes):
    return student(shape, classes + 1)

def fails(shape, classes):
    raise ValueError("no such thing")

def no_module(shape, classes):
    return lambda x: x

def exits(shape, classes):
    raise SystemExit(0)

def frozen(shape, classes):
    return student(shape, classes).requires_grad_(False)

def diverged(shape, classes):
    net = student(shape, classes)
    nn.init.constant_(net[1].bias, float("nan"))
    return net

def only_pairs(shape, classes):
    inputs = 2 * shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(0), nn.Linear(inputs, 2 * classes), nn.Unflatten(0, (2, classes)))

class Two(nn.Linear):
    def forward(self, x):
        return x, x

def a_tuple(shape, classes):
    return Two(1, 1)

def prints(shape, classes):
    print("a word")
    return student(shape, classes)

number = 3
"""


@pytest.fixture
def factories(tmp_path: Path) -> Path:
    """A file with factories."""
    path = tmp_path / "my_student.py"
    path.write_text(FACTORIES)
    return path


def make(reference: str) -> nn.Module:
    return build(choose(reference, SHAPE), SHAPE, 10, 0)


def test_a_factory_is_loaded_from_a_file_or_a_module(factories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parameters(make(f"{factories}:student")) == 650
    monkeypatch.syspath_prepend(factories.parent)
    assert parameters(make("my_student:student")) == 650


@pytest.mark.parametrize(
    "name",
    [
        *("wrong_count", "fails", "no_module", "number", "missing", "exits"),
        *("frozen", "diverged", "only_pairs", "a_tuple"),
    ],
)
def test_a_factory_that_does_not_work_is_an_error_of_one_line(factories: Path, name: str) -> None:
    with pytest.raises(UsageError, match=name) as error:
        make(f"{factories}:{name}")
    assert "\n" not in str(error.value)


def test_prints_of_a_factory_go_to_standard_error(factories: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(f"{factories}:prints")
    assert capsys.readouterr() == ("", "a word\n")


def test_missing_files_and_modules_are_errors(tmp_path: Path) -> None:
    for reference in (f"{tmp_path}/none.py:student", "no_such_package:student"):
        with pytest.raises(UsageError):
            choose(reference, SHAPE)


def test_a_run_with_a_custom_student(digits_file: Path, factories: Path, tmp_path: Path) -> None:
    result = compress(digits_file, tmp_path / "out", overrides=SMALL[:-1], student=f"{factories}:student")
    assert result.student_size.parameters == 650
    written = tmp_path / "out" / "recipe.yaml"
    assert f"cannot name code: give --student '{factories}:student'" in written.read_text().splitlines()[0]
    assert load_recipe(written).student == "auto"
    assert "Gemm" in {n.op_type for n in onnx.load(result.student).graph.node}


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("x if float(x.sum()) < 1e9 else 2 * x", r'cannot be exported.*own.py", line 6'),
        ("torch.stack([x[i] for i in range(x.shape[0])])", "fixed batch size"),
        ("x if not torch.compiler.is_exporting() else missing()", "cannot be exported.*NotImplementedError"),
        ("x if not torch.compiler.is_exporting() else sys.exit(3)", "cannot be exported.*SystemExit"),
        ("x if torch.compiler.is_exporting() or len(x) > 1 else refuse()", "fails at batch size 1"),
    ],
    ids=["depends on values", "counts samples", "no message", "ends the process", "refuses one sample"],
)
def test_a_student_that_cannot_be_exported_is_refused_before_the_run(
    digits_file: Path, tmp_path: Path, forward: str, message: str
) -> None:
    """The error has one line, without what torch prints during the export."""
    (tmp_path / "own.py").write_text(
        "import sys, torch; from torch import nn\n"
        "def missing(): raise NotImplementedError\n"
        "def refuse(): raise ValueError('one is too few')\n"
        "class Custom(nn.Sequential):\n"
        "    def forward(self, x):\n"
        f"        return super().forward({forward})\n\n"
        "def make(shape, classes):\n"
        "    return Custom(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    with pytest.raises(UsageError, match=f"own.py:make: .*{message}") as error:
        prepare(digits_file, student=f"{tmp_path}/own.py:make")
    assert "\n" not in str(error.value)
