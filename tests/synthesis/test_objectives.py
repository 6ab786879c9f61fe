"""Loss terms, compared with closed forms and torch's own layers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zskd_onnx.synthesis.objectives import (
    activation_loss,
    competition_loss,
    statistics_loss,
    target_loss,
    total_variation,
)


def logits(seed: int) -> torch.Tensor:
    return 3 * torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))


def test_the_target_loss_has_the_gradient_of_the_divergence() -> None:
    """Wang 2021 minimises the KL divergence, ZSKD the cross-entropy."""
    z = logits(0).requires_grad_()
    y = logits(1).softmax(1)
    divergence = F.kl_div(F.log_softmax(z / 20, 1), y, reduction="sum")
    gradient, expected = (torch.autograd.grad(f, z)[0] for f in (target_loss(z, y, 20.0), divergence))
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(gradient, (F.softmax(z.detach() / 20, 1) - y) / 20)  # the closed form


def test_the_activation_loss_is_the_negative_mean_magnitude() -> None:
    a = torch.tensor([[[[1.0, -2.0]], [[0.0, 4.0]]]])
    assert float(activation_loss(a)) == -7 / 4
    assert float(activation_loss(a.repeat(3, 1, 1, 1))) == -21 / 4


def test_total_variation_of_a_step() -> None:
    x = torch.zeros(2, 1, 4, 6)
    x[0, :, 1:] = 1  # an edge of length six, and a sample without edges
    assert float(total_variation(x)) == pytest.approx(6 / 2)
    assert float(total_variation(torch.tensor([[[0.0, 1.0, 0.5]]]))) == pytest.approx(1.5)
    assert float(total_variation(torch.rand(3, 4))) == 0


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5), (8, 3, 4, 5), (4, 3, 2, 3, 2)])
def test_statistics_are_those_of_batch_normalisation(shape: tuple[int, ...]) -> None:
    """The loss is zero for the batch that a layer with momentum 1 has just processed."""
    x = 2 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layer = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)](3, momentum=1.0)
    layer(x)
    n = x.numel() // 3
    mean, variance = layer.running_mean, layer.running_var * (n - 1) / n  # torch stores the unbiased variance
    assert float(statistics_loss([x], [(mean, variance)])) == pytest.approx(0, abs=1e-4)
    # A shift by 1 changes three means: a distance of sqrt 3 for each of two layers.
    shifted = statistics_loss([x + 1, x + 1], [(mean, variance)] * 2)
    assert float(shifted) == pytest.approx(2 * math.sqrt(3), abs=1e-4)


def test_the_competition_loss_is_one_minus_the_jensen_shannon_divergence() -> None:
    t, s = logits(0), logits(1)
    p, q = t.softmax(1), s.softmax(1)
    m = (p + q) / 2
    js = 0.5 * ((p * (p / m).log()).sum(1) + (q * (q / m).log()).sum(1))
    assert float(competition_loss(t, s)) == pytest.approx(1 - float(js.mean()), abs=1e-6)
    assert float(competition_loss(t, t)) == pytest.approx(1, abs=1e-6)
    opposite = 1000 * torch.eye(2)
    assert float(competition_loss(opposite, opposite.flip(0))) == pytest.approx(1 - math.log(2), abs=1e-6)
