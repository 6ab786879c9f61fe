"""The pace of a training with and without a deadline."""

from __future__ import annotations

import pytest

from zskd_onnx.distillation import pace as module
from zskd_onnx.distillation.pace import Pace


class Clock:
    """A clock that the test sets."""

    now = 100.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(module, "time", Clock)
    Clock.now = 100.0
    return Clock


def advance(pace: Pace) -> int:
    """Take a step; returns by how much the position has grown."""
    by = pace.next_move()
    pace.move(by)
    return by


def test_without_a_deadline_each_step_counts_one(clock: type[Clock]) -> None:
    pace = Pace(3, None)
    assert [advance(pace) for _ in range(3)] == [1, 1, 1]
    assert pace.ended


def test_time_moves_the_position_to_the_end(clock: type[Clock]) -> None:
    pace = Pace(1000, 110.0)
    positions = []
    while not pace.ended:
        clock.now += 1.0
        advance(pace)
        positions.append(pace.position)
    assert positions == [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]


def test_steps_that_are_fast_enough_need_no_deadline(clock: type[Clock]) -> None:
    pace = Pace(4, 1e6)
    assert [advance(pace) for _ in range(4)] == [1, 1, 1, 1]


def test_a_training_that_continues_has_the_rest_of_its_schedule(clock: type[Clock]) -> None:
    pace = Pace(1000, 110.0, position=600)
    clock.now += 5.0
    advance(pace)
    assert pace.position == 800
    clock.now += 50.0
    assert advance(pace) == 200
    assert pace.ended


def test_no_time_is_one_step(clock: type[Clock]) -> None:
    pace = Pace(1000, 90.0)
    assert advance(pace) == 1000
