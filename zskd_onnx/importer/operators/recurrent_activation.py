"""The activations of recurrent cells, by their ONNX names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Callable[[Tensor], Tensor]

_WITHOUT_PARAMETERS: dict[str, Activation] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softsign": F.softsign,
    "softplus": F.softplus,
}

_WITH_PARAMETERS: dict[str, tuple[Callable[[Tensor, float, float], Tensor], float | None, float | None]] = {
    "affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "leakyrelu": (lambda x, a, b: F.leaky_relu(x, a), 0.01, None),
    "thresholdedrelu": (lambda x, a, b: torch.where(x > a, x, torch.zeros_like(x)), 1.0, None),
    "scaledtanh": (lambda x, a, b: a * torch.tanh(b * x), 1.0, 1.0),
    "hardsigmoid": (lambda x, a, b: (a * x + b).clamp(0, 1), 0.2, 0.5),
    "elu": (lambda x, a, b: F.elu(x, a), 1.0, None),
}
"""Function of x, alpha and beta, and the defaults of both; None if it does not use that number."""


def activations_of(attributes: dict[str, Any], defaults: tuple[str, ...], directions: int) -> list[list[Activation]]:
    """The activations of each direction, from a node's attributes.

    ``activation_alpha`` and ``activation_beta`` have one number for each activation that takes one,
    in order.

    Args:
        attributes: the node's attributes.
        defaults: names of one direction's activations if the node has none.
        directions: number of directions.

    Raises:
        NotImplementedError: an activation is not supported.
    """
    names = attributes.get("activations") or defaults * directions
    alphas = iter(attributes.get("activation_alpha") or ())
    betas = iter(attributes.get("activation_beta") or ())
    clip = attributes.get("clip")
    functions = []
    for name in names:
        key = name.lower()
        if key in _WITHOUT_PARAMETERS:
            function = _WITHOUT_PARAMETERS[key]
        elif key in _WITH_PARAMETERS:
            compute, alpha, beta = _WITH_PARAMETERS[key]
            alpha = None if alpha is None else next(alphas, alpha)
            beta = None if beta is None else next(betas, beta)
            function = _bound(compute, alpha or 0.0, beta or 0.0)
        else:
            raise NotImplementedError(f"activation '{name}' is not supported")
        functions.append(function if clip is None else _clipped(function, clip))
    count = len(defaults)
    return [functions[d * count : (d + 1) * count] for d in range(directions)]


def _bound(compute: Callable[[Tensor, float, float], Tensor], alpha: float, beta: float) -> Activation:
    return lambda x: compute(x, alpha, beta)


def _clipped(function: Activation, limit: float) -> Activation:
    return lambda x: function(x.clamp(-limit, limit))
