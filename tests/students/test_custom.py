"""Students that a user brings."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.conftest import SMALL
from zskd_onnx import UsageError, compress, load_recipe, prepare

OWN = """
from torch import nn

def student(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))
"""


def test_a_student_of_ones_own(digits_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    result = compress(digits_file, tmp_path / "out", overrides=SMALL, student=f"{tmp_path}/mine.py:student")
    assert result.student_size.parameters == 650
    written = tmp_path / "out" / "recipe.yaml"
    assert f"cannot name code: give --student '{tmp_path}/mine.py:student'" in written.read_text().splitlines()[0]
    assert load_recipe(written).student == "auto"
    assert "Gemm" in {n.op_type for n in onnx.load(result.student).graph.node}


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        ("x if float(x.sum()) < 1e9 else 2 * x", r'cannot be exported.*mine.py", line 6'),
        ("torch.stack([x[i] for i in range(x.shape[0])])", "fixes the batch size"),
        ("x if not torch.compiler.is_exporting() else missing()", "cannot be exported.*NotImplementedError"),
        ("x if not torch.compiler.is_exporting() else sys.exit(3)", "cannot be exported.*SystemExit"),
        ("x if torch.compiler.is_exporting() or len(x) > 1 else refuse()", "batch size 1: it does not run"),
    ],
    ids=["depends on values", "counts samples", "no message", "ends the process", "refuses one sample"],
)
def test_a_student_that_cannot_be_delivered_is_told_before_the_run(
    digits_file: Path, tmp_path: Path, forward: str, words: str
) -> None:
    """In one line, with what torch prints beside left out."""
    (tmp_path / "mine.py").write_text(
        "import sys, torch; from torch import nn\n"
        "def missing(): raise NotImplementedError\n"
        "def refuse(): raise ValueError('one is too few')\n"
        "class Moody(nn.Sequential):\n"
        "    def forward(self, x):\n"
        f"        return super().forward({forward})\n\n"
        "def make(shape, classes):\n"
        "    return Moody(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    with pytest.raises(UsageError, match=f"mine.py:make: .*{words}") as caught:
        prepare(digits_file, student=f"{tmp_path}/mine.py:make")
    assert "\n" not in str(caught.value)
