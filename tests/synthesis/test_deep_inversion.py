"""DeepInversion of a pre-activation network, whose batch normalisation exporters cannot fold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import Exports, export
from zskd_onnx import UnsupportedTeacherError
from zskd_onnx.synthesis.deep_inversion import DeepInversion
from zskd_onnx.synthesis.objectives import competition_loss, statistics_loss, target_loss, total_variation
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.probe import batch_norm_probe
from zskd_onnx.teacher.teacher import Teacher

TARGETS = torch.eye(10).repeat(2, 1)


def rng_with(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def wrn(exports: Exports) -> Teacher:
    return load_teacher(exports.path("wrn", "17"), input_range=(-2, 2))


def make(teacher: Teacher, iterations: int = 25, seed: int = 0, **fields: float) -> torch.Tensor:
    return DeepInversion(iterations=iterations, **fields).make(teacher, TARGETS, rng_with(seed))


def statistics_distance(teacher: Teacher, x: torch.Tensor) -> float:
    """Distance between the statistics of a batch and the stored ones."""
    probe = batch_norm_probe(teacher)
    return float(statistics_loss(probe(teacher.domain.to_file(x))[1], probe.statistics))


def test_statistics_approach_the_stored_ones(wrn: Teacher) -> None:
    first, made = make(wrn, 1), make(wrn)
    assert made.shape == (20, 3, 16, 16)
    assert made.min() >= 0
    assert made.max() <= 1
    assert not made.requires_grad
    assert statistics_distance(wrn, made) < 0.7 * statistics_distance(wrn, first)


def test_the_cross_entropy_decreases(wrn: Teacher) -> None:
    """At temperature 1. The untrained network predicts one class for everything, so classes cannot be compared."""
    entropies = [
        float(target_loss(wrn.logits(wrn.domain.to_file(make(wrn, n, statistics=0.0))), TARGETS, 1.0)) for n in (1, 30)
    ]
    assert entropies[1] < 0.8 * entropies[0]


def test_each_term_has_its_effect(wrn: Teacher) -> None:
    without = {"statistics": 0.0, "total_variation": 0.0, "l2": 0.0}
    plain = make(wrn, **without)
    assert statistics_distance(wrn, make(wrn, **{**without, "statistics": 1.0})) < 0.7 * statistics_distance(wrn, plain)
    smooth = make(wrn, **{**without, "total_variation": 0.1})
    assert total_variation(smooth) < 0.7 * total_variation(plain)
    # In this teacher's input range, 0 is the middle of the unit space.
    assert (make(wrn, **{**without, "l2": 0.1}) - 0.5).square().mean() < 0.7 * (plain - 0.5).square().mean()


def test_competition_increases_disagreement_with_the_student(wrn: Teacher) -> None:
    shape = wrn.domain.shape
    torch.manual_seed(0)
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(torch.Size(shape).numel(), 10))
    settings = DeepInversion(iterations=30, competition=50.0, statistics=0.0)
    losses = []
    for competitor in (None, student):
        x = settings.make(wrn, TARGETS, rng_with(), student=competitor)
        with torch.no_grad():
            losses.append(float(competition_loss(wrn.logits(wrn.domain.to_file(x)), student(x))))
    assert losses[1] < losses[0] - 0.05
    assert all(p.grad is None for p in student.parameters())


def test_the_random_generator_determines_the_samples(wrn: Teacher) -> None:
    assert torch.equal(make(wrn, 5), make(wrn, 5))
    assert not torch.equal(make(wrn, 5), make(wrn, 5, seed=1))


def test_shifts_and_flips_are_drawn_within_their_bounds() -> None:
    rolls, mirrored = DeepInversion(iterations=500, jitter=0.125, flip=0.3)._draw_transforms((3, 16, 24), rng_with())
    assert {row for row, _ in rolls} == set(range(-2, 3))
    assert {column for _, column in rolls} == set(range(-3, 4))
    assert 0.2 < sum(mirrored) / 500 < 0.4
    assert set(map(tuple, DeepInversion(iterations=9, jitter=0.0)._draw_transforms((3, 16, 24), rng_with())[0])) == {
        (0, 0)
    }


@pytest.mark.parametrize("rank", [1, 2])
def test_only_images_are_mirrored(tmp_path: Path, rank: int) -> None:
    """The mirror image of a sequence is another sequence."""
    norm, conv = ((nn.BatchNorm1d, nn.Conv1d), (nn.BatchNorm2d, nn.Conv2d))[rank - 1]
    torch.manual_seed(0)
    net = nn.Sequential(norm(2), conv(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6**rank, 10)).eval()
    export(net, (2, *(8,) * rank), tmp_path / "net.onnx", "17", fixed=False)
    teacher = load_teacher(tmp_path / "net.onnx")
    plain, mirrored = (make(teacher, 3, jitter=0.0, flip=flip) for flip in (0.0, 1.0))
    assert torch.equal(plain, mirrored) is (rank == 1)


def test_a_teacher_without_batch_normalisation_is_refused(digits: Teacher) -> None:
    with pytest.raises(UnsupportedTeacherError, match=r"no batch normalisation.*impressions and noise") as error:
        make(digits)
    assert "\n" not in str(error.value)
