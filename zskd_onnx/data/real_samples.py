"""Real samples that a user gives to train on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zskd_onnx.data.npz import read_samples
from zskd_onnx.errors import UsageError
from zskd_onnx.system.randomness import generator_for
from zskd_onnx.teacher.teacher import Teacher

PART = 512


@dataclass(frozen=True)
class RealSamples:
    """Samples in the order in which they are drawn.

    Attributes:
        inputs: (N, *shape) in the unit space, float16, on the CPU.
        labels: class numbers (N,), or None where the file has none.
    """

    inputs: Tensor
    labels: Tensor | None


def read_real_samples(path: Path, teacher: Teacher, per_class: int | None, seed: int) -> RealSamples:
    """Read an .npz; see ``read_samples``.

    Args:
        per_class: how many of each class at most; None takes all.
        seed: draws which.

    Raises:
        UsageError: no such file, or arrays that do not fit.
    """
    domain = teacher.domain
    x, y = read_samples(path, domain, teacher.classes)
    if len(x) < 2:
        raise UsageError(f"{path}: holds one sample; expected two or more to train on")
    parts = [domain.to_unit(torch.from_numpy(x[i : i + PART])) for i in range(0, len(x), PART)]
    inputs = torch.cat(parts).to(torch.float16)
    labels = None if y is None else torch.from_numpy(y)
    order = torch.randperm(len(inputs), generator=generator_for(seed, "data"))
    if per_class is not None:
        classes = _classes(teacher, inputs) if labels is None else labels
        rank = torch.zeros(len(order), dtype=torch.long)
        for number in range(teacher.classes):
            of_class = classes[order] == number
            rank[of_class] = torch.arange(int(of_class.sum()))
        order = order[rank < per_class]
    inputs = inputs[order]
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return RealSamples(inputs, None if labels is None else labels[order])


@torch.no_grad()
def _classes(teacher: Teacher, inputs: Tensor) -> Tensor:
    parts = (part.to(torch.float32) for part in inputs.split(PART))
    return torch.cat([teacher.logits(teacher.domain.to_file(part)).argmax(1) for part in parts])
