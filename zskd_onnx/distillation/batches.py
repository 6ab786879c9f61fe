"""The batches of a training stage: samples of one source or several, and the teacher's outputs on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat

import torch
from torch import Tensor, nn

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.distillation.precision import computing_in
from zskd_onnx.distillation.settings import SampleKind
from zskd_onnx.generators.train import Augment, GeneratorTraining
from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.system.devices import memory
from zskd_onnx.system.process_group import own_share
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.system.rows import Rows, in_memory
from zskd_onnx.system.threads import map_in_order
from zskd_onnx.teacher.probes.outputs import Outputs, TeacherView

NO_LABEL = -100
"""Class number of a sample without a label; torch's cross-entropy ignores it."""


@dataclass(frozen=True)
class StoredSamples:
    """Samples that exist before training.

    Attributes:
        kind: "transfer_set" or "data".
        inputs: (N, *shape) in the unit space; they may be on disk.
        labels: class numbers (N,), or None.
        size: number of samples in each batch.
    """

    kind: SampleKind
    inputs: Rows
    labels: Tensor | None
    size: int

    @property
    def real(self) -> bool:
        """Whether they are the user's real samples."""
        return self.kind == "data"

    def to(self, device: torch.device) -> StoredSamples:
        """The same on a device, so that no batch has to be copied there."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, inputs=in_memory(self.inputs, device), labels=labels)


@dataclass(frozen=True)
class ProceduralImages:
    """Procedural images, drawn anew for each batch.

    Attributes:
        drawn: draws them.
        size: number of samples in each batch.
    """

    drawn: DrawnImages
    size: int


@dataclass(frozen=True)
class Batch:
    """The samples of one step.

    Attributes:
        x: (N, *shape) in the unit space, on the student's device.
        outputs: the teacher's.
        labels: class numbers (N,); ``NO_LABEL`` for samples without one.
        whole: number of samples of all processes that share the batch.
    """

    x: Tensor
    outputs: Outputs
    labels: Tensor
    whole: int


@dataclass(frozen=True)
class Sources:
    """The sources of batches.

    Attributes:
        stored: samples that exist before training; may be empty.
        procedural: procedural images, or None.
        generator: a generator that is trained beside the student, or None.
        natural: whether inputs are natural images, see ``Augmentation.apply``.
    """

    stored: tuple[StoredSamples, ...]
    procedural: ProceduralImages | None = None
    generator: GeneratorTraining | None = None
    natural: bool = False

    @property
    def procedural_share(self) -> float:
        """Share of a batch that is procedural."""
        if self.procedural is None:
            return 0.0
        others = sum(part.size for part in self.stored) + (0 if self.generator is None else self.generator.batch_size)
        return self.procedural.size / (self.procedural.size + others)

    def batches(
        self,
        steps: range,
        total: int,
        view: TeacherView,
        augmentation: Augmentation,
        seed: int,
        student: nn.Module,
        stage: str = "distillation",
        precision: torch.dtype = torch.float32,
    ) -> Iterator[Batch]:
        """A batch for each step; where several processes work together, the rows of it that this one takes.

        Each process draws the whole batch, so that the student sees the same samples whatever their number is.
        The teacher runs on augmented samples, as the student does. Worker threads prepare stored samples and
        procedural images while the student is trained on this thread. A generator's samples depend on the
        student, so they are made in turn.

        Args:
            steps: those of ``total`` that are still to be taken.
            stage: of training; each stage has its own order of samples and its own augmentation.
            precision: of the teacher's answers, see ``choose_precision``. A generator, which needs the teacher's
                gradient, keeps float32.
        """
        device = next(student.parameters()).device
        of_others = augmentation.beside(self.procedural_share)
        # The first stage and the transfer set keep the purposes that they always had, so that old runs repeat.
        of_stage = () if stage == "distillation" else (stage,)
        fits = sum(part.inputs.nbytes for part in self.stored) <= memory(device) // 4
        stored = [part.to(device) if fits and device.type != "cpu" else part for part in self.stored]
        orders = [_order(part, steps, seed, of_stage) for part in stored]
        indices = zip(*orders, strict=True) if orders else repeat(())

        @torch.no_grad()
        def make(numbered: tuple[int, tuple[Tensor, ...]]) -> Batch:
            step, of_stored = numbered
            xs, labels = [], []
            for part, chosen in zip(stored, of_stored, strict=True):
                x = part.inputs[chosen].to(device, torch.float32)
                of_part = () if part.kind == "transfer_set" else (part.kind,)
                rng = rng_for(seed, *of_stage, "augmentation", *of_part, step, device=device)
                xs.append(of_others.apply(x, rng, natural=self.natural, intact=part.real))
                no_labels = torch.full((len(chosen),), NO_LABEL, device=chosen.device)
                labels.append((no_labels if part.labels is None else part.labels[chosen]).to(device))
            if (images := self.procedural) is not None:
                rng = rng_for(seed, *of_stage, "procedural", step, device=device)
                x = images.drawn.draw(images.size, rng)
                xs.append(augmentation.of_all.apply(x, rng, natural=self.natural, intact=True))
                labels.append(torch.full((images.size,), NO_LABEL, device=device))
            x = torch.cat(xs) if len(xs) > 1 else xs[0]
            own = own_share(len(x))
            with computing_in(precision, device):
                outputs = view(x[own])
            return Batch(x[own], outputs.float(), torch.cat(labels)[own], len(x))

        def augment(step: int) -> Augment:
            purpose = (*of_stage, "augmentation", "generator", step)
            return lambda x: of_others.apply(x, rng_for(seed, *purpose, device=device), natural=self.natural)

        if self.generator is None:
            workers = torch.get_num_threads() // 2 if device.type == "cpu" else 0
            yield from map_in_order(make, zip(steps, indices, strict=False), workers)
            return
        for numbered in zip(steps, indices, strict=False):
            step = numbered[0]
            x, outputs = self.generator.batch(step, student, augment(step) if of_others.fraction else None)
            no_labels = torch.full((len(x),), NO_LABEL, device=device)
            generated = Batch(x, outputs, no_labels, self.generator.batch_size)
            yield _join(make(numbered), generated) if self.stored or self.procedural is not None else generated


def _join(first: Batch, second: Batch) -> Batch:
    return Batch(
        torch.cat([first.x, second.x]),
        Outputs.join(first.outputs, second.outputs),
        torch.cat([first.labels, second.labels]),
        first.whole + second.whole,
    )


def _order(part: StoredSamples, steps: range, seed: int, of_stage: tuple[str, ...]) -> Iterator[Tensor]:
    """The samples of each step, (size,): one shuffle after another, end to end, of which one is in memory."""
    samples, device = len(part.inputs), part.inputs.device
    of_part = () if part.kind == "transfer_set" else (part.kind,)
    rng = rng_for(seed, *of_stage, "order", *of_part)
    passes, begun = divmod(steps.start * part.size, samples)
    for _ in range(passes):
        torch.randperm(samples, generator=rng)
    left = torch.randperm(samples, generator=rng).to(device)[begun:]
    for _ in steps:
        while len(left) < part.size:
            left = torch.cat([left, torch.randperm(samples, generator=rng).to(device)])
        chosen, left = left[: part.size], left[part.size :]
        yield chosen
