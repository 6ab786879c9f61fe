"""Channel pruning with Optimal Brain Surgeon: which channels to remove, and re-fitted weights for the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-4
"""Ridge regularisation: share of each input's mean square that is added to it, as inputs may be linearly dependent."""

MAX_INPUTS = 8192
"""Largest number of inputs for which all mean products are computed (a matrix of 0.5 GB).

Inputs of larger layers are treated as uncorrelated.
"""


MIN_ROWS = 20_000
"""Smallest number of rows that a layer's mean products are estimated from."""


def sufficient_rows(inputs: int) -> int:
    """Number of rows from which the mean products of a layer with so many inputs are estimated."""
    return max(MIN_ROWS, 4 * inputs)


def products_work(inputs: int) -> float:
    """Multiply-adds of ``mean_products`` for a layer."""
    return 0.0 if inputs > MAX_INPUTS else float(sufficient_rows(inputs) * inputs**2)


def removal_work(inputs: int) -> float:
    """Multiply-adds of an inverse, and of the removal of half of a layer's inputs."""
    return 0.0 if inputs > MAX_INPUTS else 2.0 * inputs**3


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


@dataclass(frozen=True)
class ReadingLayer:
    """A layer that reads channels.

    Attributes:
        products: second moments of the layer's inputs, from ``mean_products``.
        weight: (O, I): outputs and inputs.
        inputs: (C, T): the inputs that each channel provides. Inputs that no channel provides are never removed.
        refit_bias: whether the layer's bias may compensate for the means of removed channels.
    """

    products: Tensor
    weight: Tensor
    inputs: Tensor
    refit_bias: bool


def prune_channels(
    products: Tensor, weight: Tensor, keep: int, *, refit_bias: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Remove channels that one layer reads until ``keep`` remain, and re-fit the weights of the others.

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
    inputs = torch.arange(channels * taps, device=weight.device).view(channels, taps)
    layer = ReadingLayer(products, weight.flatten(1), inputs, refit_bias)
    indices, ((refitted, bias_change),) = prune_shared_channels([layer], keep)
    return indices, refitted[:, inputs[indices].flatten()].reshape(outputs, keep, taps), bias_change


def prune_shared_channels(
    layers: Sequence[ReadingLayer], keep: int, *, most_steps: int | None = None
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Remove channels that several layers read until ``keep`` remain, and re-fit the weights of the others.

    Each step removes the channel with the lowest saliency: the increase of the layers' mean squared
    output error after the remaining weights are re-fitted. This is Optimal Brain Surgeon (Hassibi &
    Stork 1993, eq. 5) for groups of weights, with the error of the layers' own outputs as in ThiNet
    (Luo et al. 2017).

    Args:
        layers: one or more layers with the same channels.
        keep: number of channels to keep.
        most_steps: largest number of steps; a step removes several channels where there are more. None
            removes one at a time.

    Returns:
        Indices (keep,) of the remaining channels, ascending; and for each layer its weights (O, I), 0 for removed
        inputs, and the change of its bias (O,).
    """
    states = [
        _Uncorrelated(layer) if layer.products.shape[1] == layer.weight.shape[1] else _Correlated(layer)
        for layer in layers
    ]
    remaining = list(range(len(layers[0].inputs)))
    at_once = 1 if most_steps is None else math.ceil((len(remaining) - keep) / most_steps)
    while len(remaining) > keep:
        saliency = torch.stack([state.saliency(remaining) for state in states]).sum(0)
        count = min(at_once, len(remaining) - keep)
        lowest = saliency.topk(count, largest=False).indices.tolist() if count > 1 else [int(saliency.argmin())]
        for state in states:
            state.remove([remaining[place] for place in lowest])
        for place in sorted(lowest, reverse=True):
            del remaining[place]
    device = layers[0].weight.device
    return torch.tensor(remaining, device=device), [state.result() for state in states]


class _Correlated:
    """The weights of a layer while its inputs are removed."""

    def __init__(self, layer: ReadingLayer) -> None:
        self.layer = layer
        count = layer.weight.shape[1] + layer.refit_bias
        products = layer.products[:count, :count]
        squares = products.diagonal()
        damping = RIDGE * squares.clamp_min(1e-6 * float(squares.mean())).clamp_min(1e-12)
        if layer.refit_bias:
            damping[-1] = 0
        self.inverse = torch.linalg.inv(products + damping.diag())
        self.w = products.new_zeros((count, len(layer.weight)))
        self.w[: layer.weight.shape[1]] = layer.weight.T.double()

    def saliency(self, channels: list[int]) -> Tensor:
        groups = self.layer.inputs[channels]
        blocks, weights = self.inverse[groups[:, :, None], groups[:, None, :]], self.w[groups]
        return (weights * torch.linalg.solve(blocks, weights)).sum((1, 2))

    def remove(self, channels: list[int]) -> None:
        removed = self.layer.inputs[channels].flatten()
        block = self.inverse[removed[:, None], removed[None, :]]
        transfer = torch.linalg.solve(block, self.inverse[removed])
        self.w = self.w - transfer.T @ self.w[removed]
        self.inverse = self.inverse - transfer.T @ self.inverse[removed]
        self.w[removed] = 0

    def result(self) -> tuple[Tensor, Tensor]:
        weight = self.layer.weight
        bias_change = self.w[-1] if self.layer.refit_bias else self.w.new_zeros(len(weight))
        return self.w[: weight.shape[1]].T.to(weight.dtype), bias_change.to(weight.dtype)


class _Uncorrelated:
    """The weights of a layer whose inputs are treated as uncorrelated: only the bias is re-fitted."""

    def __init__(self, layer: ReadingLayer) -> None:
        self.layer = layer
        self.means, squares = layer.products
        error = squares - self.means.square() if layer.refit_bias else squares
        self.errors = (layer.weight.double().square().sum(0) * error)[layer.inputs].sum(1)
        self.weight = layer.weight.clone()
        self.bias_change = self.means.new_zeros(len(layer.weight))

    def saliency(self, channels: list[int]) -> Tensor:
        return self.errors[channels]

    def remove(self, channels: list[int]) -> None:
        removed = self.layer.inputs[channels].flatten()
        if self.layer.refit_bias:
            self.bias_change = self.bias_change + self.weight[:, removed].double() @ self.means[removed]
        self.weight[:, removed] = 0

    def result(self) -> tuple[Tensor, Tensor]:
        return self.weight, self.bias_change.to(self.weight.dtype)
