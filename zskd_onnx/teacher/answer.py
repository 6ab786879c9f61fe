"""What a teacher says of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zskd_onnx.teacher.probe import BlocksProbe
from zskd_onnx.teacher.teacher import Teacher


@dataclass(frozen=True)
class Answer:
    """What a student is to match.

    Attributes:
        logits: (N, K) in float32.
        blocks: activation blocks (N, C, *positions), for attention transfer; empty without it.
    """

    logits: Tensor
    blocks: tuple[Tensor, ...] = ()

    def detach(self) -> Answer:
        return Answer(self.logits.detach(), tuple(block.detach() for block in self.blocks))

    @staticmethod
    def join(answers: list[Answer]) -> Answer:
        """One answer for batches put end to end."""
        if len(answers) == 1:
            return answers[0]
        blocks = zip(*(answer.blocks for answer in answers), strict=True)
        return Answer(torch.cat([a.logits for a in answers]), tuple(torch.cat(block) for block in blocks))


class Asking:
    """Asks a teacher about samples of the unit space."""

    def __init__(
        self, teacher: Teacher, blocks: BlocksProbe | None = None, sizes: Sequence[tuple[int, ...]] = ()
    ) -> None:
        """
        Args:
            blocks: gives the answers' blocks; without it logits are all.
            sizes: the spatial sizes of the blocks that are wanted, in order.
        """
        self.teacher = teacher
        self.blocks = blocks
        self._kept = [] if blocks is None else [blocks.sizes.index(size) for size in sizes]

    def __call__(self, x: Tensor) -> Answer:
        """The answer to (N, *shape); differentiable in x."""
        file = self.teacher.domain.to_file(x)
        if self.blocks is None:
            return Answer(self.teacher.logits(file).float())
        logits, blocks = self.blocks(file)
        return Answer(logits.float(), tuple(blocks[i].float() for i in self._kept))
