"""Dirichlet targets against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from zskd_onnx.priors.class_similarity import class_similarity, concentration
from zskd_onnx.priors.dirichlet import Dirichlet, sample_dirichlet
from zskd_onnx.teacher.teacher import Teacher


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [[1.0, 1.0, 1.0], [0.3, 2.0, 5.0, 0.7], [0.05, 0.1, 0.02]])
def test_moments(alpha: list[float]) -> None:
    """Mean a / s and variance a (s - a) / (s^2 (s + 1)), s the sum."""
    a = np.array(alpha)
    total, n = a.sum(), 100_000
    y = sample_dirichlet(np.tile(a, (n, 1)), generator()).double().numpy()
    variance = a * (total - a) / (total**2 * (total + 1))
    np.testing.assert_allclose(y.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(y.mean(0), a / total, atol=5 * np.sqrt(variance.max() / n))
    np.testing.assert_allclose(y.var(0), variance, atol=0.004)


def test_small_parameters_against_the_arc_sine_law() -> None:
    """Dir(1/2, 1/2) is Beta(1/2, 1/2): P(y < 1/4) = 2 / pi asin(1/2) = 1/3."""
    y = sample_dirichlet(np.full((100_000, 2), 0.5), generator())[:, 0]
    assert float((y < 0.25).float().mean()) == pytest.approx(1 / 3, abs=0.008)


@pytest.mark.parametrize("tiny", [1e-3, 1e-5, 1e-8, 1e-12])
def test_tiny_parameters_stay_on_the_simplex(tiny: float) -> None:
    """Plain gamma draws underflow here: all of a row would be 0 / 0."""
    y = sample_dirichlet(np.full((2000, 10), tiny), generator())
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y.sum(1), torch.ones(2000))
    corners = y.argmax(1).bincount(minlength=10) / 2000
    torch.testing.assert_close(corners, torch.full((10,), 0.1), rtol=0, atol=0.04)


def test_beta_survives(digits: Teacher) -> None:
    """Normalising after scaling by beta would make the two halves alike."""
    peaks = {beta: draw(Dirichlet(beta=(beta,)), digits, 4000).amax(1).mean() for beta in (1.0, 0.1)}
    assert peaks[0.1] > peaks[1.0] + 0.2


def draw(prior: Dirichlet, teacher: Teacher, count: int, first: int = 0) -> torch.Tensor:
    return prior.sampler(teacher)(first, count, generator())


def test_half_of_the_samples_have_each_beta(digits: Teacher) -> None:
    y = draw(Dirichlet(beta=(1000.0, 0.001), similarity=False), digits, 400)
    spread = y.amax(1) < 0.5
    assert spread.sum() == 200
    assert spread.reshape(-1, 10).all(1).sum() == 20, "runs of one for each class"


@pytest.mark.parametrize("floor", [1e-4, 0.25])
def test_each_class_has_the_same_number(digits: Teacher, floor: float) -> None:
    """With a huge beta a draw is its mean, the normalised row of the similarity; rows tell classes."""
    assert digits.head is not None
    y = draw(Dirichlet(beta=(1e6,), floor=floor), digits, 200)
    rows = concentration(class_similarity(digits.head.weight), floor)
    means = (rows / rows.sum(1, keepdim=True)).float()
    nearest = torch.cdist(y, means).argmin(1)
    assert nearest.bincount(minlength=10).tolist() == [20] * 10
    torch.testing.assert_close(y, means[nearest], rtol=0, atol=0.01)


def test_the_uniform_ablation_knows_no_class(digits: Teacher) -> None:
    y = draw(Dirichlet(beta=(1.0,), similarity=False), digits, 20_000)
    torch.testing.assert_close(y.mean(0), torch.full((10,), 0.1), rtol=0, atol=0.01)


def test_most_draws_are_of_the_class_that_they_were_drawn_for(digits: Teacher) -> None:
    """Wang (2021) counts 20 to 40 % that are not; chance would give 90 %."""
    y = draw(Dirichlet(), digits, 10_000)
    elsewhere = float((y.argmax(1) != torch.arange(10_000) % 10).float().mean())
    assert 0.3 < elsewhere < 0.65
    uniform = draw(Dirichlet(similarity=False), digits, 10_000)
    assert float((uniform.argmax(1) != torch.arange(10_000) % 10).float().mean()) == pytest.approx(0.9, abs=0.02)


def test_classes_follow_the_number_of_the_sample(digits: Teacher) -> None:
    """Any part of a transfer set can be drawn alone."""
    prior = Dirichlet(beta=(1e6,))
    torch.testing.assert_close(
        draw(prior, digits, 10, first=3), draw(prior, digits, 10, first=0).roll(-3, 0), rtol=0, atol=0.01
    )


def test_the_same_generator_gives_the_same_draw(digits: Teacher) -> None:
    assert torch.equal(draw(Dirichlet(), digits, 50), draw(Dirichlet(), digits, 50))
    other = Dirichlet().sampler(digits)(0, 50, generator(1))
    assert not torch.equal(draw(Dirichlet(), digits, 50), other)


@pytest.mark.parametrize("fields", [{"beta": []}, {"beta": [0.0]}, {"beta": [-1.0]}, {"floor": 0.0}, {"beta": 1.0}])
def test_fields_are_checked(fields: dict) -> None:
    with pytest.raises(ValidationError):
        Dirichlet(**fields)
