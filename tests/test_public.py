"""The names of ``zskd_onnx``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import zskd_onnx


def test_names_are_sorted_and_all_there() -> None:
    assert zskd_onnx.__all__ == sorted(zskd_onnx.__all__)
    assert len(set(zskd_onnx.__all__)) == len(zskd_onnx.__all__)
    for name in zskd_onnx.__all__:
        assert getattr(zskd_onnx, name) is not None


def test_what_is_promised_is_public() -> None:
    promised = {"load_teacher", "Teacher", "Recipe", "load_recipe", "compress", "CompressionResult", "verify"}
    assert promised <= set(zskd_onnx.__all__)
    assert set(zskd_onnx._MODULES) <= set(zskd_onnx.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'compres'"):
        _ = zskd_onnx.compres


def test_importing_the_package_is_light(environment: dict[str, str]) -> None:
    code = "import sys, zskd_onnx; print({'torch', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("ZskdError", 1),
        ("UsageError", 2),
        ("RecipeError", 2),
        ("MissingExtraError", 2),
        ("UnsupportedTeacherError", 3),
        ("ParityError", 4),
        ("QualityError", 5),
        ("PeerLostError", 1),
        ("Cancelled", 130),
    ],
)
def test_errors_carry_their_exit_code(error: str, code: int) -> None:
    kind = getattr(zskd_onnx, error)
    assert issubclass(kind, zskd_onnx.ZskdError)
    assert kind.exit_code == code


def test_reprs_fit_on_a_screen(digits: zskd_onnx.Teacher) -> None:
    text = repr(digits)
    assert text.startswith("Teacher(digits_teacher.onnx: NCHW (1, 8, 8) in [0, 16], 10 classes")
    assert len(text) < 200
    result = zskd_onnx.CompressionResult(
        student=Path("out/student.onnx"),
        parity=zskd_onnx.Parity(1e-6, 1e-4),
        agreement=0.9,
        confident=0.5,
        confident_agreement=0.99,
        accuracy=zskd_onnx.Accuracies(0.99, 0.98, 0.97),
        teacher_size=zskd_onnx.ModelFigures("teacher.onnx", 100_000, 20_000, 400_000),
        student_size=zskd_onnx.ModelFigures("out/student.onnx", 50_000, 10_000, 100_000),
        seconds={"synthesis": 1.0},
        answers=zskd_onnx.Answers(10, 100, 10, 0.99, 3, 0.7, 0.9, 4.0),
        domain=zskd_onnx.InputRange((0.0,), (1.0,), "option", "known", "in the range 0..1 (option)"),
        warnings=(),
        notes=("a long note " * 50,),
        history={"distillation": [{"step": n, "loss": 1.0} for n in range(1000)]},
        chosen={"distillation": 999},
        gates=(),
        missed_gates=("agreement 0.9000, expected <0.95>",),
        latency=None,
        manifest=Path("out/manifest.json"),
    )
    assert len(repr(result)) < 400
    assert "0.9800 (teacher 0.9900)" in repr(result)
    html = result._repr_html_()
    assert html.startswith("<table>")
    assert "&lt;0.95&gt;" in html
    with pytest.raises(zskd_onnx.QualityError, match=r"expected <0\.95>"):
        result.check()
