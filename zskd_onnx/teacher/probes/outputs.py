"""Teacher and student outputs that a loss compares, and the view of a teacher that computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zskd_onnx.system.rows import Rows, parts
from zskd_onnx.teacher.probes.probe import ActivationMapsProbe, Probe
from zskd_onnx.teacher.teacher import Teacher

BATCH = 512

Blocks = Callable[[Tensor], tuple[Tensor, tuple[Tensor, ...]]]
"""Computes logits and the outputs of blocks."""


@dataclass(frozen=True)
class Outputs:
    """Outputs of a teacher or a student on a batch.

    Attributes:
        logits: (N, K) in float32.
        maps: activation maps (N, C, *positions) for attention transfer; empty without it.
        features: input of the final fully connected layer, (N, F); None without feature distillation.
        blocks: outputs of blocks that teacher and student have in common, (N, ...); empty without block matching.
    """

    logits: Tensor
    maps: tuple[Tensor, ...] = ()
    features: Tensor | None = None
    blocks: tuple[Tensor, ...] = ()

    def float(self) -> Outputs:
        """The same in float32."""
        features = None if self.features is None else self.features.float()
        maps, blocks = (tuple(part.float() for part in parts) for parts in (self.maps, self.blocks))
        return Outputs(self.logits.float(), maps, features, blocks)

    @staticmethod
    def join(first: Outputs, second: Outputs) -> Outputs:
        """Outputs of two batches, end to end; both have the same parts."""
        logits = torch.cat([first.logits, second.logits])
        maps, blocks = (
            tuple(torch.cat(pair) for pair in zip(a, b, strict=True))
            for a, b in ((first.maps, second.maps), (first.blocks, second.blocks))
        )
        if first.features is None or second.features is None:
            return Outputs(logits, maps, blocks=blocks)
        return Outputs(logits, maps, torch.cat([first.features, second.features]), blocks)


class TeacherView:
    """A teacher that takes samples of the unit space."""

    def __init__(
        self,
        teacher: Teacher,
        maps: ActivationMapsProbe | None = None,
        sizes: Sequence[tuple[int, ...]] = (),
        features: Probe | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        """
        Args:
            maps: computes the activation maps of the outputs; None leaves them out.
            sizes: spatial sizes of the maps to return, in order.
            features: computes the features of the outputs; None leaves them out. With several probes the
                teacher runs several times.
            blocks: computes logits and blocks of the outputs for inputs as the file takes them; None leaves them out.
        """
        self.teacher = teacher
        self._maps = maps
        self._indices = [] if maps is None else [maps.sizes.index(size) for size in sizes]
        self._features = features
        self._blocks = blocks

    @property
    def logits_only(self) -> bool:
        """Whether outputs have logits alone."""
        return self._maps is None and self._features is None and self._blocks is None

    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K) in float32 for samples (N, *shape) of the unit space; differentiable in x."""
        return self.teacher.logits(self.teacher.domain.to_file(x)).float()

    @torch.no_grad()
    def batched_logits(self, inputs: Rows) -> Tensor:
        """Logits (N, K) on the CPU for samples of any number, computed ``BATCH`` at a time without gradients."""
        device = next((buffer.device for buffer in self.teacher.buffers()), None)
        return torch.cat([self.logits(part.to(device, torch.float32)).cpu() for part in parts(inputs, BATCH)])

    def __call__(self, x: Tensor) -> Outputs:
        """The outputs for samples (N, *shape) of the unit space; differentiable in x."""
        if self.logits_only:
            return Outputs(self.logits(x))
        inputs = self.teacher.domain.to_file(x)
        maps: tuple[Tensor, ...] = ()
        features: Tensor | None = None
        blocks: tuple[Tensor, ...] = ()
        if self._blocks is not None:
            logits, blocks = self._blocks(inputs)
        if self._maps is not None:
            logits, maps = self._maps(inputs)
        if self._features is not None:
            logits, (features,) = self._features(inputs)
        chosen = tuple(maps[i].float() for i in self._indices)
        return Outputs(logits.float(), chosen, None if features is None else features.float(), blocks)
