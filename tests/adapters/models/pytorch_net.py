"""The network of train_pytorch.py, in a module that a pickle can refer to."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    """A convolutional network for 8x8 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(512, 64), nn.ReLU(), nn.Dropout(0.25)),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def make() -> nn.Module:
    return Net()


def make_other() -> nn.Module:
    """A module that the weights do not fit."""
    return nn.Linear(64, 10)


def make_unstable() -> nn.Module:
    """A module with the same weights whose output is random."""

    class Unstable(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + torch.randn(10)

    return Unstable()
