"""Optimal Brain Surgeon, compared with least squares for every choice of channels."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from zskd_onnx.students.pruning import optimal_brain_surgeon
from zskd_onnx.students.pruning.optimal_brain_surgeon import mean_products, prune_channels

OUTPUTS, CHANNELS, TAPS, ROWS = 5, 6, 3, 4000


@pytest.fixture
def rows() -> Tensor:
    """Correlated inputs with means other than zero."""
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn((CHANNELS * TAPS, CHANNELS * TAPS), generator=rng)
    x = torch.randn((ROWS, CHANNELS * TAPS), generator=rng) @ mixing
    return (x + torch.randn(CHANNELS * TAPS, generator=rng)).relu()


@pytest.fixture
def weight() -> Tensor:
    return torch.randn((OUTPUTS, CHANNELS, TAPS), generator=torch.Generator().manual_seed(1))


def fit(rows: Tensor, weight: Tensor, remaining: list[int], *, refit_bias: bool) -> float:
    """The mean squared error of a least-squares fit with the remaining channels."""
    targets = rows.double() @ weight.flatten(1).double().T
    inputs = rows.double().view(ROWS, CHANNELS, TAPS)[:, remaining].flatten(1)
    if refit_bias:
        inputs = torch.cat([inputs, torch.ones((ROWS, 1), dtype=torch.float64)], 1)
    weights = torch.linalg.lstsq(inputs, targets).solution
    return float((inputs @ weights - targets).square().mean())


@pytest.mark.parametrize("refit_bias", [True, False])
def test_the_channel_with_the_lowest_error_is_removed(rows: Tensor, weight: Tensor, refit_bias: bool) -> None:
    choices = [list(choice) for choice in combinations(range(CHANNELS), CHANNELS - 1)]
    best = min(choices, key=lambda choice: fit(rows, weight, choice, refit_bias=refit_bias))
    remaining, _, _ = prune_channels(mean_products(rows), weight, CHANNELS - 1, refit_bias=refit_bias)
    assert remaining.tolist() == best


@pytest.mark.parametrize("refit_bias", [True, False])
@pytest.mark.parametrize("keep", [1, 3, 5])
def test_weights_are_refitted(rows: Tensor, weight: Tensor, keep: int, refit_bias: bool) -> None:
    remaining, refitted, bias_change = prune_channels(mean_products(rows), weight, keep, refit_bias=refit_bias)
    assert refitted.shape == (OUTPUTS, keep, TAPS)
    inputs = rows.view(ROWS, CHANNELS, TAPS)[:, remaining].flatten(1)
    outputs = inputs @ refitted.flatten(1).T + bias_change
    error = float((outputs - rows @ weight.flatten(1).T).square().mean())
    assert error == pytest.approx(fit(rows, weight, remaining.tolist(), refit_bias=refit_bias), rel=1e-2)
    assert refit_bias == bool(bias_change.any())


def test_channels_are_removed_one_at_a_time(rows: Tensor, weight: Tensor) -> None:
    """Each step removes the channel that least squares removes from the channels left so far."""
    remaining = list(range(CHANNELS))
    while len(remaining) > 2:
        remaining = min(
            ([c for c in remaining if c != removed] for removed in remaining),
            key=lambda choice: fit(rows, weight, choice, refit_bias=True),
        )
        assert prune_channels(mean_products(rows), weight, len(remaining))[0].tolist() == remaining


def test_a_channel_that_is_always_zero_is_removed_first(rows: Tensor, weight: Tensor) -> None:
    rows.view(ROWS, CHANNELS, TAPS)[:, 2] = 0
    weight[:, 2] *= 1000
    remaining, refitted, bias_change = prune_channels(mean_products(rows), weight, CHANNELS - 1)
    assert remaining.tolist() == [0, 1, 3, 4, 5]
    torch.testing.assert_close(refitted, weight[:, remaining], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(bias_change, torch.zeros(OUTPUTS), rtol=0, atol=0.05)


def test_large_layers_are_treated_as_uncorrelated(
    rows: Tensor, weight: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of quadratic size is computed. For uncorrelated inputs the choice is the same."""
    rng = torch.Generator().manual_seed(2)
    deviations = torch.rand(CHANNELS * TAPS, generator=rng) * 3
    uncorrelated = torch.randn(rows.shape, generator=rng) * deviations + torch.randn(rows.shape[1:], generator=rng)
    expected, _, _ = prune_channels(mean_products(uncorrelated), weight, 3)
    monkeypatch.setattr(optimal_brain_surgeon, "MAX_INPUTS", 10)
    products = mean_products(uncorrelated)
    assert products.shape == (2, CHANNELS * TAPS)
    remaining, weights, bias_change = prune_channels(products, weight, 3)
    assert torch.equal(remaining, expected)
    assert torch.equal(weights, weight[:, remaining])
    removed = [c for c in range(CHANNELS) if c not in remaining.tolist()]
    means = uncorrelated.view(ROWS, CHANNELS, TAPS)[:, removed].flatten(1) @ weight[:, removed].flatten(1).T
    torch.testing.assert_close(bias_change, means.mean(0), rtol=1e-3, atol=1e-3)
    assert not prune_channels(products, weight, 3, refit_bias=False)[2].any()
