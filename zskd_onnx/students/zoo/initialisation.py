"""Initial weights of the deep networks."""

from __future__ import annotations

from torch import nn


def kaiming_fan_out(module: nn.Module) -> None:
    """Draw the weights of convolutions from N(0, 2 / fan-out), fan-out = filters x kernel (He et al. 2015).

    Linear layers keep torch's weights and get zero biases. Batch normalisation stays the identity. The
    reference implementations of ResNet and Wide ResNet do the same.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
