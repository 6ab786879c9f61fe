"""Figures of thinned versions."""

from __future__ import annotations

from zskd_onnx import Teacher
from zskd_onnx.students.describe_thinned import FACTORS, describe_thinned, teacher_milliseconds
from zskd_onnx.students.thinning.thin import teacher_groups


def test_versions_of_the_digits_teacher(digits: Teacher) -> None:
    entries = describe_thinned(digits, teacher_groups(digits))
    assert [entry.name for entry in entries] == [f"thin:{factor}" for factor in FACTORS]
    # 3x3 convolutions to 8 and 16 channels, pooling to 4x4, 24 hidden units.
    assert entries[1].parameters == 80 + 73 * 16 + 257 * 24 + 250
    assert entries[1].multiply_adds == 64 * 9 * 8 + 64 * 9 * 8 * 16 + 256 * 24 + 240
    assert all(0 < (entry.milliseconds or 0) < 1000 for entry in entries)
    assert 0 < teacher_milliseconds(digits) < 1000


def test_without_latencies(digits: Teacher) -> None:
    (entry,) = describe_thinned(digits, teacher_groups(digits), (0.3,), timed=False)
    assert (entry.name, entry.milliseconds) == ("thin:0.3", None)
