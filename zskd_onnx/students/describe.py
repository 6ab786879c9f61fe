"""What the students are and what they cost, before one is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zskd_onnx.students.zoo.registry import STUDENTS, Shape, Student


@dataclass(frozen=True)
class Description:
    """A student for a sample's shape and a number of classes.

    Attributes:
        name, summary: as registered.
        parameters: elements of all weights; None where it does not take such samples.
        multiply_adds: of convolutions and matrix products, for one sample, as ``teacher.cost`` has
            them; None likewise.
        misfit: why it does not take such samples; None where it does.
    """

    name: str
    summary: str
    parameters: int | None = None
    multiply_adds: int | None = None
    misfit: str | None = None


def describe(shape: Shape, classes: int) -> list[Description]:
    """All registered students: those that fit, the largest first, then those that do not."""
    found = [_describe(entry, shape, classes) for entry in STUDENTS.values()]
    return sorted(found, key=lambda entry: -(entry.parameters or 0))


def _describe(entry: Student, shape: Shape, classes: int) -> Description:
    misfit = entry.misfit(shape)
    if misfit is not None:
        return Description(entry.name, entry.summary, misfit=misfit)
    module = outline(entry, shape, classes)
    return Description(entry.name, entry.summary, parameters(module), _multiply_adds(module, shape))


def outline(entry: Student, shape: Shape, classes: int) -> nn.Module:
    """A student on the meta device: its layers without their numbers."""
    with torch.device("meta"):
        return entry.build(shape, classes)


def parameters(module: nn.Module) -> int:
    """Elements of all weights."""
    return sum(p.numel() for p in module.parameters())


def _multiply_adds(module: nn.Module, shape: Shape) -> int:
    """Of an outline, for one sample."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.empty((1, *shape), device="meta"))
    return counter.get_total_flops() // 2  # a multiply-add is two operations
