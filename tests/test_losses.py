"""Losses against numpy, worked examples and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zskd_onnx.losses import attention_loss, soft_target_loss


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_soft_target_loss_against_numpy(temperature: float) -> None:
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 6, 5)) * 3
    p, q = softmax(t / temperature), softmax(s / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    assert float(soft_target_loss(torch.from_numpy(s), torch.from_numpy(t), temperature)) == pytest.approx(expected)


def test_soft_target_loss_by_hand() -> None:
    """It is ln 2 - H(p) for p = (3/4, 1/4) and q = (1/2, 1/2)."""
    t, s = torch.tensor([[3.0, 1.0]]).log(), torch.zeros(1, 2)
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert float(soft_target_loss(s, t, 1.0)) == pytest.approx(expected, rel=1e-5)


def test_soft_target_loss_of_shifted_logits_is_zero() -> None:
    z = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    assert float(soft_target_loss(z + 5, z, 3.0)) == pytest.approx(0, abs=1e-5)


def test_gradient_at_high_temperature() -> None:
    """With the factor tau^2 it tends to (s - t) / (K N) for centred logits (Hinton et al. 2015, eq. 4)."""
    rng = torch.Generator().manual_seed(0)
    s, t = torch.randn(2, 3, 7, generator=rng, dtype=torch.float64)
    s, t = (z - z.mean(1, keepdim=True) for z in (s, t))
    s.requires_grad_()
    gradient = torch.autograd.grad(soft_target_loss(s, t, 1e4), s)[0]
    torch.testing.assert_close(gradient, (s.detach() - t) / (7 * 3), rtol=1e-3, atol=1e-6)


def test_gradient_is_the_difference_of_probabilities() -> None:
    rng = torch.Generator().manual_seed(0)
    s, t = torch.randn(2, 3, 7, generator=rng, dtype=torch.float64)
    s.requires_grad_()
    gradient = torch.autograd.grad(soft_target_loss(s, t, 2.0), s)[0]
    torch.testing.assert_close(gradient, 2.0 * ((s.detach() / 2).softmax(1) - (t / 2).softmax(1)) / 3)


def test_attention_loss_against_numpy() -> None:
    """Mean of squares over channels, normalised to length 1; mean squared difference (replication, section 3.1)."""
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(3, 4, 5, 5)), rng.normal(size=(3, 7, 5, 5))) for _ in range(2)]
    expected = 0.0
    for pair in pairs:
        maps = [(activations**2).mean(1).reshape(3, -1) for activations in pair]
        a, b = (m / np.sqrt((m**2).sum(1, keepdims=True)) for m in maps)
        expected += ((a - b) ** 2).mean()
    students, teachers = ([torch.from_numpy(pair[i]) for pair in pairs] for i in (0, 1))
    assert float(attention_loss(students, teachers)) == pytest.approx(expected)


def test_attention_loss_does_not_depend_on_scale() -> None:
    activations = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert float(attention_loss([5 * activations], [activations])) == pytest.approx(0, abs=1e-10)
