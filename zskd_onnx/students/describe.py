"""Size and cost of the built-in students, before one is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zskd_onnx.students.zoo.architecture import STUDENTS, Architecture, Shape


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
    """

    name: str
    summary: str
    parameters: int | None = None
    multiply_adds: int | None = None
    unsupported_reason: str | None = None


def describe(shape: Shape, classes: int) -> list[Description]:
    """Descriptions of all registered students, the largest first; those that do not support the shape come last."""
    descriptions = [_describe(entry, shape, classes) for entry in STUDENTS.values()]
    return sorted(descriptions, key=lambda entry: -(entry.parameters or 0))


def _describe(entry: Architecture, shape: Shape, classes: int) -> Description:
    unsupported_reason = entry.unsupported_reason(shape)
    if unsupported_reason is not None:
        return Description(entry.name, entry.summary, unsupported_reason=unsupported_reason)
    module = outline(entry, shape, classes)
    return Description(entry.name, entry.summary, parameters(module), _multiply_adds(module, shape))


def outline(entry: Architecture, shape: Shape, classes: int) -> nn.Module:
    """A student on torch's meta device: its layers without weight values, and without random draws."""
    with torch.device("meta"):
        return entry.build(shape, classes)


def parameters(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def _multiply_adds(module: nn.Module, shape: Shape) -> int:
    """Multiply-adds of a module on the meta device, for one sample."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.empty((1, *shape), device="meta"))
    return counter.get_total_flops() // 2  # a multiply-add is two operations
