"""A teacher's predictions on procedural images, kind by kind."""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.procedural.settings import KINDS, Draw, drawable_kinds
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.probes.answers import Answers, summarise
from zskd_onnx.teacher.teacher import Teacher

COUNT, FEWEST, BATCH = 256, 32, 8
"""Most and fewest images of each kind, and how many are drawn together: level-set lines of one batch are all equally far apart."""

MULTIPLY_ADDS = 5e10
"""Work that all kinds together may cost, about a second."""


def procedural_answers(teacher: Teacher) -> dict[str, Answers]:
    """Kind -> the teacher's predictions on images of it, for each kind that fits the input.

    Empty for vectors, and for teachers that cost too much, see ``affordable_images``.
    """
    kinds = drawable_kinds(teacher.domain.shape)
    count = affordable_images(teacher, kinds=len(kinds), most=COUNT) if kinds else 0
    if not count:
        return {}
    return {
        kind: summarise(procedural_logits(teacher, KINDS[kind], count, rng_for(0, "procedural answers", kind)))
        for kind in kinds
    }


def affordable_images(teacher: Teacher, *, kinds: int, most: int) -> int:
    """Number of images of each kind on which a teacher is asked; 0 where it can afford fewer than ``FEWEST``."""
    count = int(min(most, MULTIPLY_ADDS / kinds / max(1, teacher.cost.multiply_adds)))
    return count if count >= FEWEST else 0


@torch.no_grad()
def procedural_logits(teacher: Teacher, draw: Draw, count: int, rng: torch.Generator) -> Tensor:
    """The teacher's logits (count, K) on images that ``draw`` makes.

    Args:
        rng: on the CPU.
    """
    size = teacher.cost.batch_size(BATCH)
    if teacher.batch is not None:
        size = teacher.batch * max(1, size // teacher.batch)
    device = next((b.device for b in teacher.buffers()), None)
    parts = []
    for part in torch.empty((count, *teacher.domain.shape)).split(size):
        images = draw(part, rng).to(device)
        parts.append(teacher.logits(teacher.domain.to_file(images)).float())
    return torch.cat(parts)
