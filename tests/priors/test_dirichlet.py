"""Dirichlet targets, compared with closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from zskd_onnx.priors.class_similarity import class_similarity, concentration
from zskd_onnx.priors.dirichlet import Dirichlet, sample_dirichlet
from zskd_onnx.teacher.teacher import Teacher


def rng_with(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [[1.0, 1.0, 1.0], [0.3, 2.0, 5.0, 0.7], [0.05, 0.1, 0.02]])
def test_moments(alpha: list[float]) -> None:
    """The mean is a / s and the variance a (s - a) / (s^2 (s + 1)), where s is the sum of a."""
    a = np.array(alpha)
    total, n = a.sum(), 100_000
    y = sample_dirichlet(np.tile(a, (n, 1)), rng_with()).double().numpy()
    variance = a * (total - a) / (total**2 * (total + 1))
    np.testing.assert_allclose(y.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(y.mean(0), a / total, atol=5 * np.sqrt(variance.max() / n))
    np.testing.assert_allclose(y.var(0), variance, atol=0.004)


def test_small_parameters_follow_the_arc_sine_law() -> None:
    """Dir(1/2, 1/2) is Beta(1/2, 1/2): P(y < 1/4) = 2 / pi asin(1/2) = 1/3."""
    y = sample_dirichlet(np.full((100_000, 2), 0.5), rng_with())[:, 0]
    assert float((y < 0.25).float().mean()) == pytest.approx(1 / 3, abs=0.008)


@pytest.mark.parametrize("tiny", [1e-3, 1e-5, 1e-8, 1e-12])
def test_tiny_parameters_stay_on_the_simplex(tiny: float) -> None:
    """Plain gamma draws would underflow here, and a row be 0 / 0."""
    y = sample_dirichlet(np.full((2000, 10), tiny), rng_with())
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y.sum(1), torch.ones(2000))
    corners = y.argmax(1).bincount(minlength=10) / 2000
    torch.testing.assert_close(corners, torch.full((10,), 0.1), rtol=0, atol=0.04)


def test_small_betas_give_sharper_targets(digits: Teacher) -> None:
    """Normalising after scaling by beta would remove the difference."""
    peaks = {beta: draw(Dirichlet(beta=(beta,)), digits, 4000).amax(1).mean() for beta in (1.0, 0.1)}
    assert peaks[0.1] > peaks[1.0] + 0.2


def draw(prior: Dirichlet, teacher: Teacher, count: int, first: int = 0) -> torch.Tensor:
    return prior.sampler(teacher)(first, count, rng_with())


def test_half_of_the_samples_have_each_beta(digits: Teacher) -> None:
    y = draw(Dirichlet(beta=(1000.0, 0.001), similarity=False), digits, 400)
    spread = y.amax(1) < 0.5
    assert spread.sum() == 200
    assert spread.reshape(-1, 10).all(1).sum() == 20, "beta changes after each round of the classes"


@pytest.mark.parametrize("floor", [1e-4, 0.25])
def test_each_class_has_the_same_number_of_targets(digits: Teacher, floor: float) -> None:
    """With a huge beta a draw equals its mean, a normalised row of the similarity, which identifies the class."""
    assert digits.head is not None
    y = draw(Dirichlet(beta=(1e6,), floor=floor), digits, 200)
    rows = concentration(class_similarity(digits.head.weight), floor)
    means = (rows / rows.sum(1, keepdim=True)).float()
    nearest = torch.cdist(y, means).argmin(1)
    assert nearest.bincount(minlength=10).tolist() == [20] * 10
    torch.testing.assert_close(y, means[nearest], rtol=0, atol=0.01)


def test_the_uniform_ablation_has_no_preferred_class(digits: Teacher) -> None:
    y = draw(Dirichlet(beta=(1.0,), similarity=False), digits, 20_000)
    torch.testing.assert_close(y.mean(0), torch.full((10,), 0.1), rtol=0, atol=0.01)


def test_most_draws_have_the_class_that_they_were_drawn_for(digits: Teacher) -> None:
    """Wang 2021 counts 20 to 40 % that have another class; chance would give 90 %."""
    y = draw(Dirichlet(), digits, 10_000)
    other_class = float((y.argmax(1) != torch.arange(10_000) % 10).float().mean())
    assert 0.3 < other_class < 0.65
    uniform = draw(Dirichlet(similarity=False), digits, 10_000)
    assert float((uniform.argmax(1) != torch.arange(10_000) % 10).float().mean()) == pytest.approx(0.9, abs=0.02)


def test_the_class_depends_on_the_index_of_the_sample(digits: Teacher) -> None:
    """So any part of a transfer set can be drawn on its own."""
    prior = Dirichlet(beta=(1e6,))
    torch.testing.assert_close(
        draw(prior, digits, 10, first=3), draw(prior, digits, 10, first=0).roll(-3, 0), rtol=0, atol=0.01
    )


def test_the_random_generator_determines_the_draw(digits: Teacher) -> None:
    assert torch.equal(draw(Dirichlet(), digits, 50), draw(Dirichlet(), digits, 50))
    other = Dirichlet().sampler(digits)(0, 50, rng_with(1))
    assert not torch.equal(draw(Dirichlet(), digits, 50), other)


@pytest.mark.parametrize("fields", [{"beta": []}, {"beta": [0.0]}, {"beta": [-1.0]}, {"floor": 0.0}, {"beta": 1.0}])
def test_invalid_values_are_errors(fields: dict) -> None:
    with pytest.raises(ValidationError):
        Dirichlet(**fields)
