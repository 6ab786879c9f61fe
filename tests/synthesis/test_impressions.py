"""Impressions of the bundled teacher."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from tests.conftest import SaveModel
from zskd_onnx import UnsupportedTeacherError
from zskd_onnx.priors.dirichlet import Dirichlet
from zskd_onnx.synthesis.coarse_grid import Grid
from zskd_onnx.synthesis.impressions import Impressions
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.probe import last_convolution_probe
from zskd_onnx.teacher.teacher import Teacher


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def targets(digits: Teacher) -> torch.Tensor:
    return Dirichlet().sampler(digits)(0, 40, generator())


def loss(teacher: Teacher, x: torch.Tensor, targets: torch.Tensor, temperature: float) -> float:
    """Kullback-Leibler from the targets to the teacher's answer: the cross-entropy without its floor."""
    z = teacher.logits(teacher.domain.to_file(x)) / temperature
    return float(F.kl_div(z.log_softmax(1), targets, reduction="batchmean"))


@pytest.mark.parametrize("resolution", [(1.0,), (0.5,)])
@pytest.mark.parametrize("clip", ["end", "step"])
@pytest.mark.parametrize("start", ["normal", "uniform"])
def test_the_teacher_answers_with_the_targets(
    digits: Teacher, targets: torch.Tensor, start: str, clip: str, resolution: tuple[float, ...]
) -> None:
    made = {
        n: Impressions(
            iterations=n, start=start, clip=clip, learning_rate=0.1, temperature=4.0, resolution=resolution
        ).make(digits, targets, generator())
        for n in (1, 60)
    }
    for x in made.values():
        assert x.shape == (40, 1, 8, 8)
        assert x.min() >= 0
        assert x.max() <= 1
        assert not x.requires_grad
    assert loss(digits, made[60], targets, 4.0) < 0.7 * loss(digits, made[1], targets, 4.0)


def test_a_sharp_target_is_reached(digits: Teacher) -> None:
    wanted = torch.eye(10)
    x = Impressions(iterations=60, learning_rate=0.3, temperature=1.0, l2=0.0, clip="step", resolution=(1.0,)).make(
        digits, wanted, generator()
    )
    assert (digits.logits(digits.domain.to_file(x)).argmax(1) == torch.arange(10)).all()


def test_the_teacher_does_not_change(digits: Teacher, targets: torch.Tensor) -> None:
    before = {name: b.clone() for name, b in digits.named_buffers()}
    Impressions(iterations=3).make(digits, targets, generator())
    assert all(torch.equal(b, before[name]) for name, b in digits.named_buffers())
    assert all(b.grad is None for b in digits.buffers())


def test_samples_of_a_batch_are_independent(digits: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is a sum, Adam works on each value: the neighbours in a batch do not matter."""
    targets = Dirichlet().sampler(digits)(0, 6, generator())
    noise = torch.randn(6, 1, 8, 8, generator=generator(5))
    settings = Impressions(iterations=20, learning_rate=0.1, resolution=(1.0,))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn", lambda *_, **__: noise.clone())
        together = settings.make(digits, targets, generator())
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        patch.setattr(torch, "randn", lambda *_, **__: noise[order].clone())
        shuffled = settings.make(digits, targets[order], generator())
        patch.setattr(torch, "randn", lambda *_, **__: noise[:2].clone())
        pair = settings.make(digits, targets[:2], generator())
    torch.testing.assert_close(shuffled, together[order], rtol=0, atol=1e-3)
    torch.testing.assert_close(pair, together[:2], rtol=0, atol=1e-3)


def test_no_moments_are_carried_from_batch_to_batch(digits: Teacher, targets: torch.Tensor) -> None:
    settings = Impressions(iterations=5)
    alone = settings.make(digits, targets, generator(2))
    settings.make(digits, targets.roll(1, 1), generator(1))
    assert torch.equal(settings.make(digits, targets, generator(2)), alone)


def test_the_norm_term_makes_pictures_darker(digits: Teacher, targets: torch.Tensor) -> None:
    plain, held = (
        Impressions(iterations=30, learning_rate=0.1, l2=l2, resolution=(1.0,)).make(digits, targets, generator())
        for l2 in (0.0, 1.0)
    )
    assert held.square().mean() < 0.5 * plain.square().mean()


def test_the_norm_term_by_hand(digits: Teacher, targets: torch.Tensor) -> None:
    """Half of ``l2`` times the squares of what is optimised."""
    grid = Grid((1, 8, 8), 1.0, targets.device)
    x = torch.rand(len(targets), *grid.shape, generator=generator())
    plain, held = (Impressions(l2=l2)._objective(digits, grid)(x, targets)[0] for l2 in (0.0, 6.0))
    torch.testing.assert_close(held - plain, 3 * x.square().sum())


def test_a_coarse_grid_is_smooth(digits_file, targets: torch.Tensor) -> None:
    """Bilinear enlargement bounds the difference of neighbours; white noise has no such bound."""

    def roughness(x: torch.Tensor) -> float:
        return float((x[..., 1:] - x[..., :-1]).abs().mean() / x.std())

    teacher = load_teacher(digits_file)
    wide = Impressions(iterations=1, resolution=(1.0,)).make(teacher, targets, generator())
    # Grids do not go below eight pixels, the side of these digits.
    assert Impressions(iterations=1, resolution=(0.1,)).make(teacher, targets, generator()).shape == wide.shape
    coarse = F.interpolate(wide[..., ::2, ::2], (8, 8), mode="bilinear", align_corners=False)
    assert roughness(coarse) < roughness(wide)


def test_vectors(save_model: SaveModel) -> None:
    from onnx import helper

    w = torch.randn(4, 6, generator=generator())
    teacher = load_teacher(save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 6], {"w": w}))
    wanted = Dirichlet().sampler(teacher)(0, 12, generator())
    x = Impressions(iterations=50, learning_rate=0.1, temperature=1.0).make(teacher, wanted, generator())
    assert x.shape == (12, 4)
    assert x.min() >= 0
    assert x.max() <= 1


def test_activation_encourages_the_last_convolution(digits: Teacher, targets: torch.Tensor) -> None:
    """Wang 2021, eq. 9: the output of the last convolution, as the file's own nodes have it, grows."""
    probe = last_convolution_probe(digits)
    norms, losses = [], []
    for weight in (0.0, 0.5):
        settings = Impressions(iterations=40, learning_rate=0.1, activation=weight, temperature=4.0, resolution=(1.0,))
        x = settings.make(digits, targets, generator())
        norms.append(float(probe(digits.domain.to_file(x))[1][0].abs().sum()))
        losses.append(loss(digits, x, targets, 4.0))
    assert norms[1] > 1.2 * norms[0]
    assert losses[1] < 1.5 * loss(digits, torch.rand(40, 1, 8, 8, generator=generator()), targets, 4.0)


def test_activation_needs_a_convolution(save_model: SaveModel) -> None:
    from onnx import helper

    w = torch.randn(4, 6, generator=generator())
    teacher = load_teacher(save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 6], {"w": w}))
    with pytest.raises(UnsupportedTeacherError, match="no convolution"):
        Impressions(activation=0.1).make(teacher, torch.eye(6), generator())


CLASSES = Impressions(
    batch_size=8,
    iterations=200,
    learning_rate=0.01,
    temperature=1.0,
    l2=0.0,
    confidence=(0.55, 0.7),
    clip="step",
    resolution=(1.0,),
)


def test_class_impressions_end_at_their_confidence(digits: Teacher) -> None:
    x = CLASSES.make(digits, torch.eye(10).repeat(4, 1), generator())
    sure = digits.logits(digits.domain.to_file(x)).softmax(1)[torch.arange(40), torch.arange(40) % 10]
    assert sure.min() >= 0.55 - 1e-3
    # Samples end soon after their own draw; going on for all iterations makes the teacher certain.
    assert sure.mean() < 0.8
    on = CLASSES.model_copy(update={"confidence": None}).make(digits, torch.eye(10), generator())
    assert digits.logits(digits.domain.to_file(on)).softmax(1).diagonal().mean() > 0.95


def test_neighbours_do_not_matter_to_class_impressions(digits: Teacher) -> None:
    """The same chunk through places of other numbers: only the rounding of sums may differ."""
    targets = torch.eye(10).repeat(3, 1)
    few, many = (CLASSES.model_copy(update={"batch_size": n}).make(digits, targets, generator()) for n in (4, 30))
    torch.testing.assert_close(few, many, rtol=0, atol=1e-3)


def test_chunks() -> None:
    assert Impressions(batch_size=100).chunk == 100
    assert CLASSES.chunk == 10 * CLASSES.batch_size


@pytest.mark.parametrize(
    "fields",
    [
        {"iterations": 0},
        {"learning_rate": 0},
        {"temperature": -1},
        {"l2": -1},
        {"start": "zeros"},
        {"clip": "never"},
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
def test_fields_are_checked(fields: dict) -> None:
    with pytest.raises(ValidationError):
        Impressions(**fields)
