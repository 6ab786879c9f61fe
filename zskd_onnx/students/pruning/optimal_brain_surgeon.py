"""Channel pruning with Optimal Brain Surgeon: which channels to remove, and re-fitted weights for the others."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-4
"""Ridge regularisation: share of each input's mean square that is added to it, as inputs may be linearly dependent."""

MAX_INPUTS = 8192
"""Largest number of inputs for which all mean products are computed (a matrix of 0.5 GB).

Inputs of larger layers are treated as uncorrelated.
"""


def mean_products(rows: Tensor) -> Tensor:
    """Second moments of a layer's inputs, which ``prune_channels`` needs.

    Args:
        rows: inputs (R, I), one row for each sample and position.

    Returns:
        (I + 1, I + 1) in float64: mean products of the inputs and a constant 1, which comes last.
        With more than ``MAX_INPUTS`` inputs, (2, I): their means and mean squares.
    """
    rows = rows.double()
    if rows.shape[1] > MAX_INPUTS:
        return torch.stack([rows.mean(0), rows.square().mean(0)])
    rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
    return rows.T @ rows / len(rows)


def prune_channels(
    products: Tensor, weight: Tensor, keep: int, *, refit_bias: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Remove channels one at a time until ``keep`` remain, and re-fit the weights of the others.

    Each step removes the channel with the lowest saliency: the increase of the layer's mean squared
    output error after the remaining weights are re-fitted. This is Optimal Brain Surgeon (Hassibi &
    Stork 1993, eq. 5) for groups of weights, with the error of the layer's own outputs as in ThiNet
    (Luo et al. 2017).

    Args:
        products: second moments of the layer's inputs, from ``mean_products``.
        weight: (O, C, T): outputs, channels, and inputs that each channel provides.
        keep: number of channels to keep.
        refit_bias: whether the layer's bias may compensate for the means of removed channels.

    Returns:
        Indices (keep,) of the remaining channels, ascending; their weights (O, keep, T); and the
        change of the bias (O,).
    """
    outputs, channels, taps = weight.shape
    if products.shape != (1 + channels * taps,) * 2:
        return _prune_uncorrelated(products, weight, keep, refit_bias=refit_bias)
    inputs = channels * taps + refit_bias
    products = products[:inputs, :inputs]
    squares = products.diagonal()
    damping = RIDGE * squares.clamp_min(1e-6 * float(squares.mean())).clamp_min(1e-12)
    if refit_bias:
        damping[-1] = 0
    inverse = torch.linalg.inv(products + damping.diag())
    w = products.new_zeros((inputs, outputs))
    rows_of_channel = torch.arange(channels * taps, device=weight.device).view(channels, taps)
    w[: channels * taps] = weight.flatten(1).T.double()
    remaining = list(range(channels))
    while len(remaining) > keep:
        groups = rows_of_channel[remaining]
        blocks, weights = inverse[groups[:, :, None], groups[:, None, :]], w[groups]
        saliency = (weights * torch.linalg.solve(blocks, weights)).sum((1, 2))
        lowest = int(saliency.argmin())
        removed = groups[lowest]
        transfer = torch.linalg.solve(blocks[lowest], inverse[removed])
        w = w - transfer.T @ w[removed]
        inverse = inverse - transfer.T @ inverse[removed]
        del remaining[lowest]
    indices = torch.tensor(remaining, device=weight.device)
    refitted = w[rows_of_channel[indices].flatten()].T.reshape(outputs, keep, taps)
    bias_change = w[-1] if refit_bias else w.new_zeros(outputs)
    return indices, refitted.to(weight.dtype), bias_change.to(weight.dtype)


def _prune_uncorrelated(
    products: Tensor, weight: Tensor, keep: int, *, refit_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """``prune_channels`` for inputs that are treated as uncorrelated: only the bias is re-fitted."""
    means, squares = (row.view(weight.shape[1:]) for row in products)
    error = squares - means.square() if refit_bias else squares
    saliency = (weight.double().square().sum(0) * error).sum(1)
    indices = saliency.topk(keep).indices.sort().values
    removed = torch.ones_like(saliency, dtype=torch.bool)
    removed[indices] = False
    bias_change = torch.einsum("oct,ct->o", weight[:, removed].double(), means[removed])
    if not refit_bias:
        bias_change = torch.zeros_like(bias_change)
    return indices, weight[:, indices], bias_change.to(weight.dtype)
