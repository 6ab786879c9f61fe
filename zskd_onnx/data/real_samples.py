"""Real samples of the user to train on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zskd_onnx.data.npz import read_samples
from zskd_onnx.errors import UsageError
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.probes.outputs import BATCH, TeacherView
from zskd_onnx.teacher.teacher import Teacher


@dataclass(frozen=True)
class RealSamples:
    """Real samples to train on, in random order.

    Attributes:
        inputs: (N, *shape) in the unit space, float16, on the CPU.
        labels: class numbers (N,), or None where the file has none.
        notes: how the file was read, and warnings.
    """

    inputs: Tensor
    labels: Tensor | None
    notes: tuple[str, ...] = ()


def read_real_samples(path: Path, teacher: Teacher, per_class: int | None, seed: int) -> RealSamples:
    """Real samples of an .npz file, see ``read_samples``.

    Args:
        per_class: largest number of samples of each class; None takes all. Without labels the teacher
            tells the classes.
        seed: of the order, and so of the choice.

    Raises:
        UsageError: no such file, arrays that do not fit, or fewer than two samples.
    """
    domain = teacher.domain
    samples = read_samples(path, domain, teacher.classes, teacher.class_names)
    x, y = samples.x, samples.y
    if len(x) < 2:
        raise UsageError(f"{path}: has one sample; expected two or more to train on")
    parts = [domain.to_unit(torch.from_numpy(x[i : i + BATCH])) for i in range(0, len(x), BATCH)]
    inputs = torch.cat(parts).to(torch.float16)
    labels = None if y is None else torch.from_numpy(y)
    order = torch.randperm(len(inputs), generator=rng_for(seed, "data"))
    if per_class is not None:
        classes = TeacherView(teacher).batched_logits(inputs).argmax(1) if labels is None else labels
        rank = torch.zeros(len(order), dtype=torch.long)
        for number in range(teacher.classes):
            of_class = classes[order] == number
            rank[of_class] = torch.arange(int(of_class.sum()))
        order = order[rank < per_class]
    inputs = inputs[order]
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return RealSamples(inputs, None if labels is None else labels[order], samples.notes)
