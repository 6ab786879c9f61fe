"""The search for the largest thinned version within a limit, on a teacher whose size has a closed form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tests.students.thinning.graphs import graph_of
from zskd_onnx import Teacher, UnsupportedTeacherError, UsageError, load_teacher
from zskd_onnx.students.describe import measure
from zskd_onnx.students.thinned_student import thinned_teacher
from zskd_onnx.students.thinning.fit_target import fit_target
from zskd_onnx.students.thinning.quantities import FileSize, MultiplyAdds, Parameters
from zskd_onnx.students.thinning.target import parse_target


def widths(factor: float) -> tuple[int, int, int]:
    """Of the digits teacher: a multiple of 8 where a width is larger than 16."""
    first, second, third = (max(1, round(width * factor)) for width in (16, 32, 52))
    return first, *(8 * round(n / 8) if n > 16 else n for n in (second, third))


def parameters(first: int, second: int, third: int) -> int:
    """3x3 convolutions, pooling to 4x4, two fully connected layers."""
    return 10 * first + (9 * first + 1) * second + (16 * second + 1) * third + (third + 1) * 10


def multiply_adds(first: int, second: int, third: int) -> int:
    return 64 * 9 * first + 64 * 9 * first * second + 16 * second * third + third * 10


def largest(limit: float, cost: Callable[..., int]) -> tuple[int, int, int]:
    """The widths of the largest factor within a limit, tried one by one."""
    return next(w for step in range(999, 0, -1) if cost(*(w := widths(step / 1000))) <= limit)


def factor(student: str) -> float:
    return float(student.removeprefix("thin:"))


@pytest.mark.parametrize(("text", "limit"), [("25%", 0.25 * 32_006), ("12k", 12_000), ("60", 60)])
def test_parameters(digits: Teacher, text: str, limit: float) -> None:
    fit = fit_target(digits, parse_target("target_params", text))
    expected = largest(limit, parameters)
    assert widths(factor(fit.student)) == expected
    share = " (25% of the teacher)" if text == "25%" else ""
    assert fit.trade == (
        f"{fit.student} of the teacher's widths: {parameters(*expected):,} parameters, the target is {int(limit):,}{share}"
    )


def test_multiply_adds(digits: Teacher) -> None:
    fit = fit_target(digits, parse_target("target_macs", "100k"))
    assert widths(factor(fit.student)) == largest(100_000, multiply_adds)
    assert "multiply-adds per sample, the target is 100,000" in fit.trade


def test_factors_are_short(digits: Teacher) -> None:
    """Of all factors with the same widths, the name has one with few digits."""
    assert fit_target(digits, parse_target("target_params", "25%")).student == "thin:0.5"


def test_figures_are_those_of_the_built_student(digits: Teacher) -> None:
    thinned = thinned_teacher("thin:0.4", digits)
    student, _ = thinned.build()
    size = measure(student, digits.domain.shape)
    assert Parameters(digits, thinned.groups).of(thinned.widths) == size.parameters
    assert MultiplyAdds(digits, thinned.groups).of(thinned.widths) == size.multiply_adds
    content = len(student.to_file().SerializeToString())
    assert content < FileSize(digits, thinned.groups).of(thinned.widths) < content + 1000


def test_latency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two wide convolutions take much longer than anything else in the graph."""
    monkeypatch.setattr("zskd_onnx.system.latency.MAX_SECONDS", 0.05)
    wide = 64
    model = graph_of(
        "h = Conv<pads = [1, 1, 1, 1]>(x, a) g = Relu(h) i = Conv<pads = [1, 1, 1, 1]>(g, b) j = Relu(i) "
        "m = GlobalAveragePool(j) f = Flatten(m) y = Gemm<transB = 1>(f, c)",
        {"a": (wide, 3, 3, 3), "b": (wide, wide, 3, 3), "c": (4, wide)},
        sample=(3, 16, 16),
    )
    onnx.save(model, tmp_path / "wide.onnx")
    teacher = load_teacher(tmp_path / "wide.onnx", input_range=(0, 1), layout="NCHW")
    fit = fit_target(teacher, parse_target("target_latency", "40%"))
    assert 0.1 < factor(fit.student) < 0.9
    assert "ms in onnxruntime (CPU, 1 thread, batch 1), the target is" in fit.trade


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (
            "target_params",
            "10",
            r"^--target-params 10: .*the smallest that is reachable is 57 parameters with thin:0\.",
        ),
        ("target_size", "1kB", r"^--target-size 1kB: .*the smallest that is reachable is [\d,]+ bytes"),
        ("target_params", "1M", r"^--target-params 1M: the teacher meets this already, with 32,006 parameters;"),
        ("target_latency", "1s", r"^--target-latency 1s: the teacher meets this already, with [\d.]+ ms in onnx"),
    ],
)
def test_out_of_reach(digits: Teacher, kind: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit_target(digits, parse_target(kind, text))


def test_nothing_to_thin(tmp_path: Path) -> None:
    model = graph_of("f = Flatten(x) y = Gemm<transB = 1>(f, w)", {"w": (4, 108)})
    onnx.save(model, tmp_path / "linear.onnx")
    teacher = load_teacher(tmp_path / "linear.onnx", input_range=(0, 1))
    with pytest.raises(UnsupportedTeacherError, match="no channels that could be removed"):
        fit_target(teacher, parse_target("target_params", "25%"))
