"""When answers are no better than guesses."""

from __future__ import annotations

import math

import pytest
import torch

from zskd_onnx.metrics.chance import _at_least, near_chance, student_remarks, teacher_remarks


def test_the_binomial_tail() -> None:
    for count, samples, share in ((0, 10, 0.3), (3, 10, 0.3), (10, 10, 0.3), (11, 10, 0.3)):
        terms = [math.comb(samples, k) * share**k * (1 - share) ** (samples - k) for k in range(count, samples + 1)]
        assert _at_least(count, samples, share) == pytest.approx(sum(terms))


@pytest.mark.parametrize(
    ("right", "samples", "classes", "near"),
    [
        (38, 450, 10, True),  # 8.44 %
        (446, 450, 10, False),
        (200, 450, 10, False),  # poor, but no guess
        (0, 5, 10, False),  # too few to tell
        (0, 40, 10, True),
        (130, 256, 2, True),
        (190, 256, 2, False),
        (0, 256, 1000, True),
        (77, 256, 1000, False),
        (1500, 10_000, 10, True),
    ],
)
def test_near_chance(right: int, samples: int, classes: int, near: bool) -> None:
    assert near_chance(right, samples, classes) == near


def test_a_good_teacher_is_never_doubted() -> None:
    """Over many draws of few samples: a teacher that is right on 80 % of 10 classes, and one that guesses."""
    rng = torch.Generator().manual_seed(0)
    draws = {share: torch.rand((300, 60), generator=rng).lt(share).sum(1).tolist() for share in (0.8, 0.1)}
    assert not any(near_chance(right, 60, 10) for right in draws[0.8])
    assert all(near_chance(right, 60, 10) for right in draws[0.1])


def test_remarks() -> None:
    labels = torch.arange(100) % 10
    constant = torch.full((100,), 3)
    assert teacher_remarks(labels, labels, 10) == student_remarks(labels, labels, 10) == ()
    [remark] = teacher_remarks(constant, labels, 10)
    assert "near chance, 10.00 %" in remark
    assert "--input-range" in remark
    [remark] = teacher_remarks(constant, None, 10)
    assert "answers class 3 to all real samples" in remark
    assert teacher_remarks(constant, constant, 10) == ()  # the samples are of one class
    assert teacher_remarks(constant[:2], None, 10) == ()
    one_class, chance = student_remarks(labels, constant, 10)
    assert "answers class 3 to all 100 samples" in one_class
    assert "near chance, 10.00 %" in chance
    [one_class] = student_remarks(constant, constant, 10)
    assert "those of a constant" in one_class
