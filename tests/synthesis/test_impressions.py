"""Impressions of the bundled teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from tests.conftest import Exports, SaveModel
from zskd_onnx import UnsupportedTeacherError
from zskd_onnx.priors.dirichlet import Dirichlet
from zskd_onnx.priors.normal import Normal
from zskd_onnx.procedural.settings import Procedural
from zskd_onnx.synthesis.impressions import Impressions
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.probe import last_convolution_probe
from zskd_onnx.teacher.teacher import Teacher


def rng_with(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def targets(digits: Teacher) -> torch.Tensor:
    return Dirichlet().sampler(digits)(0, 40, rng_with())


def loss(teacher: Teacher, x: torch.Tensor, targets: torch.Tensor, temperature: float) -> float:
    """KL divergence from the targets to the teacher's output: the cross-entropy minus the targets' entropy."""
    z = teacher.logits(teacher.domain.to_file(x)) / temperature
    return float(F.kl_div(z.log_softmax(1), targets, reduction="batchmean"))


@pytest.mark.parametrize("resolution", [(1.0,), (0.5,)])
@pytest.mark.parametrize("clamp", ["end", "step"])
@pytest.mark.parametrize("start", ["normal", "uniform"])
def test_the_teachers_output_approaches_the_targets(
    digits: Teacher, targets: torch.Tensor, start: str, clamp: str, resolution: tuple[float, ...]
) -> None:
    made = {
        n: Impressions(
            iterations=n, start=start, clamp=clamp, learning_rate=0.1, temperature=4.0, resolution=resolution
        ).make(digits, targets, rng_with())
        for n in (1, 60)
    }
    for x in made.values():
        assert x.shape == (40, 1, 8, 8)
        assert x.min() >= 0
        assert x.max() <= 1
        assert not x.requires_grad
    assert loss(digits, made[60], targets, 4.0) < 0.7 * loss(digits, made[1], targets, 4.0)


def test_one_hot_targets_are_reached(digits: Teacher) -> None:
    targets = torch.eye(10)
    x = Impressions(iterations=60, learning_rate=0.3, temperature=1.0, l2=0.0, clamp="step", resolution=(1.0,)).make(
        digits, targets, rng_with()
    )
    assert (digits.logits(digits.domain.to_file(x)).argmax(1) == torch.arange(10)).all()


def test_the_teacher_is_unchanged(digits: Teacher, targets: torch.Tensor) -> None:
    before = {name: b.clone() for name, b in digits.named_buffers()}
    Impressions(iterations=3).make(digits, targets, rng_with())
    assert all(torch.equal(b, before[name]) for name, b in digits.named_buffers())
    assert all(b.grad is None for b in digits.buffers())


def test_samples_of_a_batch_are_independent(digits: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is a sum over samples, and Adam works on each value."""
    targets = Dirichlet().sampler(digits)(0, 6, rng_with())
    noise = torch.randn(6, 1, 8, 8, generator=rng_with(5))
    settings = Impressions(iterations=20, learning_rate=0.1, resolution=(1.0,))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn", lambda *_, **__: noise.clone())
        together = settings.make(digits, targets, rng_with())
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        patch.setattr(torch, "randn", lambda *_, **__: noise[order].clone())
        shuffled = settings.make(digits, targets[order], rng_with())
        patch.setattr(torch, "randn", lambda *_, **__: noise[:2].clone())
        pair = settings.make(digits, targets[:2], rng_with())
    torch.testing.assert_close(shuffled, together[order], rtol=0, atol=1e-3)
    torch.testing.assert_close(pair, together[:2], rtol=0, atol=1e-3)


def test_each_batch_has_its_own_optimiser_state(digits: Teacher, targets: torch.Tensor) -> None:
    settings = Impressions(iterations=5)
    alone = settings.make(digits, targets, rng_with(2))
    settings.make(digits, targets.roll(1, 1), rng_with(1))
    assert torch.equal(settings.make(digits, targets, rng_with(2)), alone)


def test_the_l2_term_makes_images_darker(digits: Teacher, targets: torch.Tensor) -> None:
    plain, regularised = (
        Impressions(iterations=30, learning_rate=0.1, l2=l2, resolution=(1.0,)).make(digits, targets, rng_with())
        for l2 in (0.0, 1.0)
    )
    assert regularised.square().mean() < 0.5 * plain.square().mean()


def test_the_l2_term(digits: Teacher, targets: torch.Tensor) -> None:
    """Half of ``l2`` times the squared norm on the grid."""
    x, rows = torch.rand(len(targets), 1, 8, 8, generator=rng_with()), torch.arange(len(targets))
    plain, regularised = (
        Impressions(l2=l2)._objective(digits, lambda x, rows: x, targets)(x, rows)[0] for l2 in (0.0, 6.0)
    )
    torch.testing.assert_close(regularised - plain, 3 * x.square().sum())


def test_a_coarse_grid_is_smooth(digits_file: Path, targets: torch.Tensor) -> None:
    """Bilinear interpolation bounds the differences of neighbours; white noise does not."""

    def roughness(x: torch.Tensor) -> float:
        return float((x[..., 1:] - x[..., :-1]).abs().mean() / x.std())

    teacher = load_teacher(digits_file)
    full = Impressions(iterations=1, resolution=(1.0,)).make(teacher, targets, rng_with())
    # Grids have at least eight pixels per side, the size of these digits.
    assert Impressions(iterations=1, resolution=(0.1,)).make(teacher, targets, rng_with()).shape == full.shape
    coarse = F.interpolate(full[..., ::2, ::2], (8, 8), mode="bilinear", align_corners=False)
    assert roughness(coarse) < roughness(full)


def test_impressions_of_vectors(save_model: SaveModel) -> None:
    from onnx import helper

    w = torch.randn(4, 6, generator=rng_with())
    teacher = load_teacher(save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 6], {"w": w}))
    targets = Dirichlet().sampler(teacher)(0, 12, rng_with())
    x = Impressions(iterations=50, learning_rate=0.1, temperature=1.0).make(teacher, targets, rng_with())
    assert x.shape == (12, 4)
    assert x.min() >= 0
    assert x.max() <= 1


def test_activation_increases_the_output_of_the_last_convolution(digits: Teacher, targets: torch.Tensor) -> None:
    """Wang 2021, eq. 9."""
    probe = last_convolution_probe(digits)
    norms, losses = [], []
    for weight in (0.0, 0.5):
        settings = Impressions(iterations=40, learning_rate=0.1, activation=weight, temperature=4.0, resolution=(1.0,))
        x = settings.make(digits, targets, rng_with())
        norms.append(float(probe(digits.domain.to_file(x))[1][0].abs().sum()))
        losses.append(loss(digits, x, targets, 4.0))
    assert norms[1] > 1.2 * norms[0]
    assert losses[1] < 1.5 * loss(digits, torch.rand(40, 1, 8, 8, generator=rng_with()), targets, 4.0)


def test_activation_needs_a_convolution(save_model: SaveModel) -> None:
    from onnx import helper

    w = torch.randn(4, 6, generator=rng_with())
    teacher = load_teacher(save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 6], {"w": w}))
    with pytest.raises(UnsupportedTeacherError, match="no convolution"):
        Impressions(activation=0.1).make(teacher, torch.eye(6), rng_with())


CLASSES = Impressions(
    batch_size=8,
    iterations=200,
    learning_rate=0.01,
    temperature=1.0,
    l2=0.0,
    confidence=(0.55, 0.7),
    clamp="step",
    resolution=(1.0,),
)


def test_class_impressions_stop_at_their_confidence(digits: Teacher) -> None:
    x = CLASSES.make(digits, torch.eye(10).repeat(4, 1), rng_with())
    confidence = digits.logits(digits.domain.to_file(x)).softmax(1)[torch.arange(40), torch.arange(40) % 10]
    assert confidence.min() >= 0.55 - 1e-3
    # Samples stop soon after their own threshold. With all iterations the teacher is almost certain.
    assert confidence.mean() < 0.8
    continued = CLASSES.model_copy(update={"confidence": None}).make(digits, torch.eye(10), rng_with())
    assert digits.logits(digits.domain.to_file(continued)).softmax(1).diagonal().mean() > 0.95


def test_class_impressions_do_not_depend_on_the_batch_size(digits: Teacher) -> None:
    """Except for the rounding of sums."""
    targets = torch.eye(10).repeat(3, 1)
    few, many = (CLASSES.model_copy(update={"batch_size": n}).make(digits, targets, rng_with()) for n in (4, 30))
    torch.testing.assert_close(few, many, rtol=0, atol=1e-3)


def test_a_chunk_has_several_batches_if_samples_stop_one_by_one(digits: Teacher) -> None:
    assert Impressions(batch_size=100).chunk_size(digits) == 100
    assert CLASSES.chunk_size(digits) == 10 * CLASSES.batch_size


def test_a_chunk_of_a_costly_teacher_has_one_batch(digits_file: Path) -> None:
    """A run that is killed loses the chunk that it works on."""
    costly = load_teacher(digits_file)
    costly.cost = replace(costly.cost, multiply_adds=10**10)
    assert CLASSES.chunk_size(costly) == CLASSES.batch_size


@pytest.mark.parametrize(
    "fields",
    [
        {"iterations": 0},
        {"learning_rate": 0},
        {"temperature": -1},
        {"l2": -1},
        {"start": "zeros"},
        {"clamp": "never"},
        {"resolution": []},
        {"resolution": [0.0]},
        {"resolution": [1.5]},
        {"count": 0},
        {"batch_size": 0},
        {"activation": -0.1},
        {"confidence": [0.7, 0.55]},
        {"confidence": [0.5, 1.5]},
        {"confidence": [0.5]},
    ],
)
def test_invalid_values_are_errors(fields: dict) -> None:
    with pytest.raises(ValidationError):
        Impressions(**fields)


NEAR = CLASSES.model_copy(
    update={"start": "procedural", "radius": 0.2, "learning_rate": 0.02, "iterations": 40, "confidence": (0.3, 0.95)}
)


@pytest.mark.parametrize("confidence", [(0.3, 0.95), None])
def test_images_cross_the_boundary_within_the_radius(digits: Teacher, confidence: tuple[float, float] | None) -> None:
    start = Procedural(level_lines=1).draw(100, digits.domain.shape, rng_with())
    targets = torch.eye(10).repeat(10, 1)
    settings = NEAR.model_copy(update={"confidence": confidence})

    x = settings.make(digits, targets, rng_with(), start=start)

    def share_of_targets(images: torch.Tensor) -> float:
        return float((digits.logits(digits.domain.to_file(images)).argmax(1) == targets.argmax(1)).float().mean())

    assert share_of_targets(start) < 0.3
    assert share_of_targets(x) > 0.6
    assert float((x - start).abs().amax()) <= 0.2 + 1e-6
    assert float(x.amin()) >= 0
    assert float(x.amax()) <= 1
    assert torch.equal(start, Procedural(level_lines=1).draw(100, digits.domain.shape, rng_with()))


@pytest.mark.parametrize("prior", [Dirichlet(), Normal()])
def test_soft_targets_are_approached_from_images_too(digits: Teacher, prior: Dirichlet | Normal) -> None:
    start = Procedural(objects=1, natural_images=False).draw(100, digits.domain.shape, rng_with())
    targets = prior.sampler(digits)(0, 100, rng_with())
    settings = NEAR.model_copy(update={"confidence": None, "temperature": 4.0})
    x = settings.make(digits, targets, rng_with(), start=start)
    assert loss(digits, x, targets, 4.0) < 0.5 * loss(digits, start, targets, 4.0)
    assert float((x - start).abs().amax()) <= 0.2 + 1e-6


def test_a_change_on_a_coarse_grid_is_smooth(exports: Exports) -> None:
    """What is added to an image differs less from neighbour to neighbour than at full size."""
    teacher = load_teacher(exports.path("lenet5", "dynamo"), input_range=(0, 1))
    start = torch.full((10, *teacher.domain.shape), 0.5)

    def roughness(resolution: float) -> float:
        settings = NEAR.model_copy(update={"resolution": (resolution,)})
        change = settings.make(teacher, torch.eye(10), rng_with(), start=start) - start
        assert 0.01 < float(change.abs().amax()) <= 0.2 + 1e-6
        return float(change.diff(dim=3).abs().mean() / change.std())

    assert roughness(0.25) < 0.5 * roughness(1.0)


@pytest.mark.parametrize("field", [{"radius": 0.1}, {"candidates": 2}])
def test_changes_of_images_need_images(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="set start to procedural"):
        Impressions(**field)
