"""Widths of thinned groups."""

from __future__ import annotations

import pytest

from zskd_onnx import UsageError
from zskd_onnx.students.thinning.groups import Group
from zskd_onnx.students.thinning.widths import named_widths, scaled_widths


def group(name: str, width: int, positions: int = 1) -> Group:
    return Group(name, tuple(range(width)), positions)


@pytest.mark.parametrize(
    ("width", "factor", "expected"),
    [(64, 0.5, 32), (20, 0.5, 10), (100, 0.5, 48), (90, 0.3, 24), (3, 0.1, 1), (1, 0.5, 1), (64, 0.99, 64)],
)
def test_widths_above_16_are_multiples_of_8(width: int, factor: float, expected: int) -> None:
    assert scaled_widths([group("a", width)], factor) == {"a": expected}


def test_the_number_of_attention_heads_is_no_multiple() -> None:
    assert scaled_widths([group("heads", 36, positions=64)], 0.5) == {"heads": 18}


def test_named_groups_change_and_the_others_stay() -> None:
    assert named_widths([group("a", 8), group("b", 6)], {"b": 3}) == {"a": 8, "b": 3}


@pytest.mark.parametrize("widths", [{"c": 3}, {"a": 0}, {"a": 9}])
def test_an_unknown_group_or_an_impossible_width_is_an_error(widths: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="thin: "):
        named_widths([group("a", 8)], widths)
