"""What a teacher says of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zskd_onnx.teacher.probes.probe import BlocksProbe, Probe
from zskd_onnx.teacher.teacher import Teacher


@dataclass(frozen=True)
class Answer:
    """What a teacher says of a batch and a student is to match; what a student says, beside it.

    Attributes:
        logits: (N, K) in float32.
        blocks: activation blocks (N, C, *positions), for attention transfer; empty without it.
        features: what the final fully connected layer reads (N, F), for hints; None without them.
    """

    logits: Tensor
    blocks: tuple[Tensor, ...] = ()
    features: Tensor | None = None

    @staticmethod
    def join(first: Answer, second: Answer) -> Answer:
        """One answer for two batches put end to end, both with the same parts."""
        blocks = tuple(torch.cat(pair) for pair in zip(first.blocks, second.blocks, strict=True))
        if first.features is None or second.features is None:
            return Answer(torch.cat([first.logits, second.logits]), blocks)
        return Answer(torch.cat([first.logits, second.logits]), blocks, torch.cat([first.features, second.features]))


class Asking:
    """Asks a teacher about samples of the unit space."""

    def __init__(
        self,
        teacher: Teacher,
        blocks: BlocksProbe | None = None,
        sizes: Sequence[tuple[int, ...]] = (),
        features: Probe | None = None,
    ) -> None:
        """
        Args:
            blocks: gives the answers' blocks.
            sizes: the spatial sizes of the blocks that are wanted, in order.
            features: gives the answers' features. Where both are wanted the teacher runs twice.
        """
        self.teacher = teacher
        self._blocks = blocks
        self._kept = [] if blocks is None else [blocks.sizes.index(size) for size in sizes]
        self._features = features

    @property
    def logits_only(self) -> bool:
        """Whether answers have neither blocks nor features."""
        return self._blocks is None and self._features is None

    def __call__(self, x: Tensor) -> Answer:
        """The answer to (N, *shape); differentiable in x."""
        file = self.teacher.domain.to_file(x)
        if self.logits_only:
            return Answer(self.teacher.logits(file).float())
        blocks: tuple[Tensor, ...] = ()
        features: Tensor | None = None
        if self._blocks is not None:
            logits, blocks = self._blocks(file)
        if self._features is not None:
            logits, (features,) = self._features(file)
        kept = tuple(blocks[i].float() for i in self._kept)
        return Answer(logits.float(), kept, None if features is None else features.float())
