"""The names of ``zskd_onnx``."""

from __future__ import annotations

import subprocess
import sys

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
    ],
)
def test_errors_carry_their_exit_code(error: str, code: int) -> None:
    kind = getattr(zskd_onnx, error)
    assert issubclass(kind, zskd_onnx.ZskdError)
    assert kind.exit_code == code
