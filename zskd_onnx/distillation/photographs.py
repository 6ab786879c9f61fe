"""Whether a teacher's images are photographs: which made-up images it tells apart."""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.distillation.contours import level_lines
from zskd_onnx.distillation.leaves import COLOURS, dead_leaves
from zskd_onnx.distillation.strokes import ROOM
from zskd_onnx.randomness import generator_for
from zskd_onnx.teacher import Teacher

MARGIN = 1.2
"""How much more has to be told for that not to hold, or to hold for others."""

COUNT = 128
MEMORY = 2**30
"""Bytes that the teacher's values for a part of the images may take."""


def takes_photographs(teacher: Teacher) -> bool | None:
    """Whether a teacher's images are photographs, as far as it tells.

    Images that are nearer to what it was trained on it tells apart better, whatever it calls them. So those of three channels
    are photographs unless its answers tell much more of contours, which are lines, than of dead leaves, which are surfaces; and
    others are not unless it is the other way round. Nats of contours and of leaves: MNIST 1.30 to 1.68 and 0.58 to 0.79, two
    digits of a hundred classes 2.28 and 1.06, CIFAR-10 0.51 and 0.74, in grey 0.49 and 0.69.

    Returns:
        None for what is no image, and for images of a side below 16, which have no room for either.
    """
    shape = teacher.domain.shape
    if len(shape) != 3 or min(shape[1:]) < ROOM:
        return None
    generator, like = generator_for(0, "photographs"), torch.empty((COUNT, *shape))
    lines, leaves = (told(teacher, make(like, generator)) for make in (level_lines, dead_leaves))
    return lines <= MARGIN * leaves if shape[0] == COLOURS else leaves > MARGIN * lines


@torch.no_grad()
def told(teacher: Teacher, images: Tensor) -> float:
    """How much a teacher's answers tell of which image they are given for: the mutual information, in nats.

    Args:
        images: (N, *shape) in the unit space.
    """
    size = max(1, min(COUNT, MEMORY // (4 * teacher.cost.activations)))
    device = next((b.device for b in teacher.buffers()), None)
    parts = [teacher.logits(teacher.domain.to_file(part.to(device))).float().softmax(1) for part in images.split(size)]
    answers = torch.cat(parts)
    return float(_entropy(answers.mean(0)) - _entropy(answers).mean())


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)
