"""Losses against arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zskd_onnx.losses import attention_loss, soft_target_loss


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_against_numpy(temperature: float) -> None:
    random = np.random.default_rng(0)
    s, t = random.normal(size=(2, 6, 5)) * 3
    p, q = softmax(t / temperature), softmax(s / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    assert float(soft_target_loss(torch.from_numpy(s), torch.from_numpy(t), temperature)) == pytest.approx(expected)


def test_by_hand() -> None:
    """p = (3/4, 1/4) against q = (1/2, 1/2): ln 2 - H(p)."""
    t, s = torch.tensor([[3.0, 1.0]]).log(), torch.zeros(1, 2)
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert float(soft_target_loss(s, t, 1.0)) == pytest.approx(expected, rel=1e-5)


def test_equal_logits_cost_nothing_and_a_shift_changes_nothing() -> None:
    z = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    assert float(soft_target_loss(z + 5, z, 3.0)) == pytest.approx(0, abs=1e-5)


def test_gradient_at_high_temperature_matches_logits() -> None:
    """Hinton et al. 2015, eq. 4: with the factor tau^2 it tends to (s - t) / (K N) for centred logits."""
    g = torch.Generator().manual_seed(0)
    s, t = torch.randn(2, 3, 7, generator=g, dtype=torch.float64)
    s, t = (z - z.mean(1, keepdim=True) for z in (s, t))
    s.requires_grad_()
    gradient = torch.autograd.grad(soft_target_loss(s, t, 1e4), s)[0]
    torch.testing.assert_close(gradient, (s.detach() - t) / (7 * 3), rtol=1e-3, atol=1e-6)


def test_gradient_is_the_difference_of_probabilities() -> None:
    g = torch.Generator().manual_seed(0)
    s, t = torch.randn(2, 3, 7, generator=g, dtype=torch.float64)
    s.requires_grad_()
    gradient = torch.autograd.grad(soft_target_loss(s, t, 2.0), s)[0]
    torch.testing.assert_close(gradient, 2.0 * ((s.detach() / 2).softmax(1) - (t / 2).softmax(1)) / 3)


def test_attention_against_numpy() -> None:
    """The replication's section 3.1: mean of squares over channels, length 1, mean squared difference."""
    random = np.random.default_rng(0)
    pairs = [(random.normal(size=(3, 4, 5, 5)), random.normal(size=(3, 7, 5, 5))) for _ in range(2)]
    expected = 0.0
    for ours, theirs in pairs:
        maps = [(block**2).mean(1).reshape(3, -1) for block in (ours, theirs)]
        a, b = (m / np.sqrt((m**2).sum(1, keepdims=True)) for m in maps)
        expected += ((a - b) ** 2).mean()
    students, teachers = ([torch.from_numpy(pair[i]) for pair in pairs] for i in (0, 1))
    assert float(attention_loss(students, teachers)) == pytest.approx(expected)


def test_attention_does_not_see_scale() -> None:
    block = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert float(attention_loss([5 * block], [block])) == pytest.approx(0, abs=1e-10)
