"""Whether a teacher's images are photographs: which made-up images it tells apart."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from zskd_onnx.procedural.dead_leaves import COLOURS, dead_leaves
from zskd_onnx.procedural.level_lines import level_lines
from zskd_onnx.procedural.pen_strokes import ROOM
from zskd_onnx.system.randomness import generator_for
from zskd_onnx.teacher.teacher import Teacher

MARGIN = 1.1
"""How much more has to be told for that not to hold, or to hold for others."""

LEAST = 0.05
"""Nats below which nothing is told."""

COUNT, PART = 128, 8
"""Images of each kind, and how many are made at once: lines of one batch are all as far apart."""

MEMORY = 2**30
"""Bytes that the teacher's values for a part of the images may take."""

Make = Callable[[Tensor, torch.Generator], Tensor]


def takes_photographs(teacher: Teacher) -> bool | None:
    """Whether a teacher's images are photographs, as far as it tells.

    Images that are nearer to what it was trained on it tells apart better, whatever it calls them. So those of three channels
    are photographs unless its answers tell much more of contours, which are lines, than of dead leaves, which are surfaces; and
    others are not unless it is the other way round. Nats of contours and of leaves: MNIST 1.4 and 0.7, two digits of a hundred
    classes 2.4 and 1.2, CIFAR-10 0.7 and 0.8, in grey 0.6 and 0.8.

    Returns:
        None for what is no image, and for images of a side below 16, which have no room for either.
    """
    shape = teacher.domain.shape
    if len(shape) != 3 or min(shape[1:]) < ROOM:
        return None
    lines, leaves = (told(teacher, make, generator_for(0, "photographs")) for make in (level_lines, dead_leaves))
    in_colour = shape[0] == COLOURS
    if not (math.isfinite(lines + leaves) and max(lines, leaves) > LEAST):
        return in_colour
    return lines <= MARGIN * leaves if in_colour else leaves > MARGIN * lines


@torch.no_grad()
def told(teacher: Teacher, make: Make, generator: torch.Generator) -> float:
    """How much a teacher's answers tell of which image they are given for: the mutual information, in nats.

    Args:
        make: images in the unit space, as many and as large as those that it is given.
        generator: on the CPU.
    """
    size = max(1, min(PART, MEMORY // (4 * teacher.cost.activations)))
    if teacher.batch is not None:
        size = teacher.batch * max(1, size // teacher.batch)
    device = next((b.device for b in teacher.buffers()), None)
    answers = []
    for part in torch.empty((COUNT, *teacher.domain.shape)).split(size):
        images = make(part, generator).to(device)
        answers.append(teacher.logits(teacher.domain.to_file(images)).float().softmax(1))
    p = torch.cat(answers)
    return float(_entropy(p.mean(0)) - _entropy(p).mean())


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)
