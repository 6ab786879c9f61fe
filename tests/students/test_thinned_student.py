"""Names of thinned teachers."""

from __future__ import annotations

import pytest

from zskd_onnx import Teacher, UsageError
from zskd_onnx.students.thinned_student import thin_amount, thinned_teacher


@pytest.mark.parametrize(
    ("name", "amount"), [("thin:0.5", 0.5), ("thin:{a: 3, b: 8}", {"a": 3, "b": 8}), ("thin:{1: 4}", {"1": 4})]
)
def test_a_factor_or_widths(name: str, amount: object) -> None:
    assert thin_amount(name) == amount


@pytest.mark.parametrize(
    "amount",
    ["", "0", "1", "2", "-0.5", ".nan", "true", "half", "[8]", "{}", "{a: 0.5}", "{a", "!!python/name:os.system"],
)
def test_other_amounts_are_refused(amount: str) -> None:
    with pytest.raises(UsageError, match=r"expected a factor above 0 and below 1, such as thin:0\.5, or widths"):
        thin_amount(f"thin:{amount}")


def test_a_student_that_keeps_all_channels_is_refused(digits: Teacher) -> None:
    groups = thinned_teacher("thin:0.5", digits).groups.groups
    widest = ", ".join(f"{group.name}: {group.width}" for group in groups)
    with pytest.raises(UsageError, match="every group keeps all of its channels; give a smaller factor or widths"):
        thinned_teacher(f"thin:{{{widest}}}", digits)
