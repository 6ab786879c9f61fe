"""Size and cost of the built-in students, before one is chosen."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zskd_onnx.students.zoo.architecture import STUDENTS, Architecture, Shape

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers of built-in students that multiply."""

SLOW = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.ReLU)
"""Layers that keep shapes, and take long on a device without values."""


@dataclass(frozen=True)
class Size:
    """Size and cost of a network.

    Attributes:
        parameters: number of weights.
        multiply_adds: multiply-adds of convolutions and matrix products for one sample.
    """

    parameters: int
    multiply_adds: int

    def __str__(self) -> str:
        return f"{self.parameters:,} parameters and {self.multiply_adds:,} multiply-adds per sample"

    def is_below(self, other: Size) -> bool:
        """Whether both figures are smaller."""
        return self.parameters < other.parameters and self.multiply_adds < other.multiply_adds

    def is_within(self, other: Size) -> bool:
        """Whether neither figure is larger."""
        return self.parameters <= other.parameters and self.multiply_adds <= other.multiply_adds


@dataclass(frozen=True)
class Description:
    """Size and cost of a student for one sample shape and number of classes.

    Attributes:
        name: name of the architecture.
        summary: one line about it.
        parameters: number of parameters; None if the architecture does not support the shape.
        multiply_adds: multiply-adds of convolutions and matrix products for one sample, counted as in
            ``teacher.cost``; None if the architecture does not support the shape.
        unsupported_reason: why the architecture does not support the shape; None if it does.
        milliseconds: median time of one batch in onnxruntime on the CPU; None where it is not measured.
    """

    name: str
    summary: str
    parameters: int | None = None
    multiply_adds: int | None = None
    unsupported_reason: str | None = None
    milliseconds: float | None = None


def describe(shape: Shape, classes: int) -> list[Description]:
    """Descriptions of all registered students, the largest first; those that do not support the shape come last."""
    descriptions = [_describe(entry, shape, classes) for entry in STUDENTS.values()]
    return sorted(descriptions, key=lambda entry: -(entry.parameters or 0))


def _describe(entry: Architecture, shape: Shape, classes: int) -> Description:
    unsupported_reason = entry.unsupported_reason(shape)
    if unsupported_reason is not None:
        return Description(entry.name, entry.summary, unsupported_reason=unsupported_reason)
    size = outlined_size(entry, shape, classes)
    return Description(entry.name, entry.summary, size.parameters, size.multiply_adds)


def outlined_size(entry: Architecture, shape: Shape, classes: int) -> Size:
    """The size of an architecture, from its layers without weight values and without random draws.

    Multiply-adds are counted layer by layer, which is ten times as fast as ``measure``; built-in students have no others.
    """
    counts: list[int] = []

    def count(layer: nn.Module, inputs: object, output: Tensor) -> None:
        counts.append(output.numel() // output.shape[1] * cast(Tensor, layer.weight).numel())

    with torch.device("meta"), torch.no_grad():
        module = entry.build(shape, classes).eval()
        size = parameters(module)
        for parent in list(module.modules()):
            if isinstance(parent, LAYERS):
                parent.register_forward_hook(count)
            for name, child in parent.named_children():
                if isinstance(child, SLOW):
                    setattr(parent, name, nn.Identity())
        module(torch.zeros((1, *shape)))
    return Size(size, sum(counts))


def measure(module: nn.Module, shape: Shape) -> Size:
    """The size of a student, from a run of one sample on torch's default device."""
    module.eval()
    x = torch.zeros((1, *shape))
    with warnings.catch_warnings(), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        warnings.simplefilter("ignore")  # torch warns about flags of devices that are not there
        with torch.backends.mkldnn.flags(enabled=False):  # its fused recurrent layers would not be counted
            module(x)
    return Size(parameters(module), counter.get_total_flops() // 2)  # a multiply-add is two operations


def parameters(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())
