"""Which channels go, against trying them all by least squares."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from zskd_onnx.students.pruning import optimal_brain_surgeon as elimination
from zskd_onnx.students.pruning.optimal_brain_surgeon import eliminate, mean_products

OUTPUTS, CHANNELS, TAPS, ROWS = 5, 6, 3, 4000


@pytest.fixture
def rows() -> Tensor:
    """Inputs that depend on one another, with means."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn((CHANNELS * TAPS, CHANNELS * TAPS), generator=generator)
    x = torch.randn((ROWS, CHANNELS * TAPS), generator=generator) @ mixing
    return (x + torch.randn(CHANNELS * TAPS, generator=generator)).relu()


@pytest.fixture
def weight() -> Tensor:
    return torch.randn((OUTPUTS, CHANNELS, TAPS), generator=torch.Generator().manual_seed(1))


def fit(rows: Tensor, weight: Tensor, kept: list[int], *, constant: bool) -> tuple[float, Tensor]:
    """Least squares by torch: the mean square error, and the weights (inputs, O), the bias's growth last."""
    targets = rows.double() @ weight.flatten(1).double().T
    inputs = rows.double().view(ROWS, CHANNELS, TAPS)[:, kept].flatten(1)
    if constant:
        inputs = torch.cat([inputs, torch.ones((ROWS, 1), dtype=torch.float64)], 1)
    found = torch.linalg.lstsq(inputs, targets).solution
    return float((inputs @ found - targets).square().mean()), found


@pytest.mark.parametrize("constant", [True, False])
def test_the_one_that_is_missed_least_goes(rows: Tensor, weight: Tensor, constant: bool) -> None:
    every = [list(kept) for kept in combinations(range(CHANNELS), CHANNELS - 1)]
    least = min(every, key=lambda kept: fit(rows, weight, kept, constant=constant)[0])
    kept, _, _ = eliminate(mean_products(rows), weight, CHANNELS - 1, constant=constant)
    assert kept.tolist() == least


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("keep", [1, 3, 5])
def test_weights_make_up_for_what_is_gone(rows: Tensor, weight: Tensor, keep: int, constant: bool) -> None:
    kept, found, growth = eliminate(mean_products(rows), weight, keep, constant=constant)
    assert found.shape == (OUTPUTS, keep, TAPS)
    inputs = rows.view(ROWS, CHANNELS, TAPS)[:, kept].flatten(1)
    outputs = inputs @ found.flatten(1).T + growth
    error = float((outputs - rows @ weight.flatten(1).T).square().mean())
    assert error == pytest.approx(fit(rows, weight, kept.tolist(), constant=constant)[0], rel=1e-2)
    assert constant == bool(growth.any())


def test_one_after_another(rows: Tensor, weight: Tensor) -> None:
    """Each step is the step that least squares would take from where the last one led."""
    left = list(range(CHANNELS))
    while len(left) > 2:
        left = min(
            ([c for c in left if c != gone] for gone in left),
            key=lambda kept: fit(rows, weight, kept, constant=True)[0],
        )
        assert eliminate(mean_products(rows), weight, len(left))[0].tolist() == left


def test_a_channel_that_is_always_dark_goes_first(rows: Tensor, weight: Tensor) -> None:
    rows.view(ROWS, CHANNELS, TAPS)[:, 2] = 0
    weight[:, 2] *= 1000
    kept, found, growth = eliminate(mean_products(rows), weight, CHANNELS - 1)
    assert kept.tolist() == [0, 1, 3, 4, 5]
    torch.testing.assert_close(found, weight[:, kept], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(growth, torch.zeros(OUTPUTS), rtol=0, atol=0.05)


def test_too_many_inputs_count_as_uncorrelated(rows: Tensor, weight: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing grows with their square then. For inputs that are uncorrelated it is the same choice."""
    generator = torch.Generator().manual_seed(2)
    deviations = torch.rand(CHANNELS * TAPS, generator=generator) * 3
    apart = torch.randn(rows.shape, generator=generator) * deviations + torch.randn(rows.shape[1:], generator=generator)
    expected, _, _ = eliminate(mean_products(apart), weight, 3)
    monkeypatch.setattr(elimination, "LARGEST", 10)
    products = mean_products(apart)
    assert products.shape == (2, CHANNELS * TAPS)
    kept, found, growth = eliminate(products, weight, 3)
    assert torch.equal(kept, expected)
    assert torch.equal(found, weight[:, kept])
    gone = [c for c in range(CHANNELS) if c not in kept.tolist()]
    means = apart.view(ROWS, CHANNELS, TAPS)[:, gone].flatten(1) @ weight[:, gone].flatten(1).T
    torch.testing.assert_close(growth, means.mean(0), rtol=1e-3, atol=1e-3)
    assert not eliminate(products, weight, 3, constant=False)[2].any()
