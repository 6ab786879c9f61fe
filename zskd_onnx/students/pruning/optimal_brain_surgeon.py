"""Which channels the next layer misses least, and weights that make up for them."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-4
"""What is added to the mean square of each input, as a share of it, so that inputs that depend on one another can be told apart."""

LARGEST = 8192
"""Inputs of a layer up to which their mean products are taken: a matrix of 0.5 GB. Above, they count as uncorrelated."""


def mean_products(rows: Tensor) -> Tensor:
    """What ``eliminate`` knows of a layer's inputs, for rows (R, I) of them.

    Returns:
        (I + 1, I + 1) in float64, the mean products of the inputs and of a one behind them; or, for more than
        ``LARGEST`` inputs, (2, I): their means and their mean squares.
    """
    rows = rows.double()
    if rows.shape[1] > LARGEST:
        return torch.stack([rows.mean(0), rows.square().mean(0)])
    rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
    return rows.T @ rows / len(rows)


def eliminate(products: Tensor, weight: Tensor, keep: int, *, constant: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Let channels go, one after another, until ``keep`` are left.

    Each time the one goes whose loss changes the layer's outputs least in the mean square, once the weights of
    all others have made up for it: Optimal Brain Surgeon (Hassibi & Stork 1993, eq. 5) for groups of weights, with the error
    of the layer's own outputs, as ThiNet (Luo et al. 2017) has it.

    Args:
        products: of the layer's inputs, as ``mean_products`` gives them.
        weight: (O, C, T), outputs by channels by the inputs that each channel gives.
        constant: whether the layer's bias may make up for the means of what goes.

    Returns:
        The channels that are left, (keep,) in order; their weights, (O, keep, T); and what the bias grows by, (O,).
    """
    outputs, channels, taps = weight.shape
    if products.shape != (1 + channels * taps,) * 2:
        return _eliminate_alone(products, weight, keep, constant=constant)
    inputs = channels * taps + constant
    products = products[:inputs, :inputs]
    squares = products.diagonal()
    damping = RIDGE * squares.clamp_min(1e-6 * float(squares.mean())).clamp_min(1e-12)
    if constant:
        damping[-1] = 0
    inverse = torch.linalg.inv(products + damping.diag())
    w = products.new_zeros((inputs, outputs))
    places = torch.arange(channels * taps, device=weight.device).view(channels, taps)
    w[: channels * taps] = weight.flatten(1).T.double()
    left = list(range(channels))
    while len(left) > keep:
        groups = places[left]
        blocks, ours = inverse[groups[:, :, None], groups[:, None, :]], w[groups]
        least = int((ours * torch.linalg.solve(blocks, ours)).sum((1, 2)).argmin())
        gone = groups[least]
        share = torch.linalg.solve(blocks[least], inverse[gone])
        w = w - share.T @ w[gone]
        inverse = inverse - share.T @ inverse[gone]
        del left[least]
    kept = torch.tensor(left, device=weight.device)
    found = w[places[kept].flatten()].T.reshape(outputs, keep, taps)
    growth = w[-1] if constant else w.new_zeros(outputs)
    return kept, found.to(weight.dtype), growth.to(weight.dtype)


def _eliminate_alone(products: Tensor, weight: Tensor, keep: int, *, constant: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The same for inputs that count as uncorrelated: nothing but the bias makes up for what goes."""
    means, squares = (row.view(weight.shape[1:]) for row in products)
    spread = squares - means.square() if constant else squares
    cost = (weight.double().square().sum(0) * spread).sum(1)
    kept = cost.topk(keep).indices.sort().values
    gone = torch.ones_like(cost, dtype=torch.bool)
    gone[kept] = False
    moved = torch.einsum("oct,ct->o", weight[:, gone].double(), means[gone])
    return kept, weight[:, kept], (moved if constant else torch.zeros_like(moved)).to(weight.dtype)
