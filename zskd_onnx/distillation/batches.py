"""What the student sees in each step: samples from one source or several, and the teacher's answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.distillation.settings import Source
from zskd_onnx.generators.train import Augment, GeneratorTraining
from zskd_onnx.system.devices import memory
from zskd_onnx.system.randomness import generator_for
from zskd_onnx.system.threads import in_order
from zskd_onnx.teacher.probes.outputs import Answer, Asking

NO_LABEL = -100
"""The class number of a sample that has none, as torch's cross-entropy reads it."""


@dataclass(frozen=True)
class Stored:
    """Samples that are there before training: a transfer set, or the user's.

    Attributes:
        name: which source they are.
        inputs: (N, *shape) in the unit space.
        labels: class numbers (N,), or None.
        size: samples of each batch.
    """

    name: Source
    inputs: Tensor
    labels: Tensor | None
    size: int

    @property
    def real(self) -> bool:
        """Whether they are the user's."""
        return self.name == "data"

    def to(self, device: torch.device) -> Stored:
        """The same on a device, where batches have no way to go."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, inputs=self.inputs.to(device), labels=labels)


@dataclass(frozen=True)
class Batch:
    """One step's samples.

    Attributes:
        x: (N, *shape) in the unit space, on the student's device.
        answer: the teacher's.
        labels: class numbers (N,); ``NO_LABEL`` where there is none.
    """

    x: Tensor
    answer: Answer
    labels: Tensor


@dataclass(frozen=True)
class Sources:
    """Where batches come from.

    Attributes:
        stored: may be none.
        generator: stepped as the student goes; or None.
    """

    stored: tuple[Stored, ...]
    generator: GeneratorTraining | None

    def batches(
        self,
        steps: range,
        total: int,
        ask: Asking,
        augmentation: Augmentation,
        seed: int,
        student: nn.Module,
        stage: str = "distillation",
    ) -> Iterator[Batch]:
        """A batch for each step.

        The teacher answers what the student sees, augmented samples too. It does so on other threads
        while the student learns on this one; what a generator makes depends on the student and is
        made in its turn.

        Args:
            steps: of ``total``, those still to be taken.
            stage: of training; each has its own order of samples and its own augmentation.
        """
        device = next(student.parameters()).device
        # The first stage's purposes, and a transfer set's, are the ones they have always had, so that old runs repeat.
        of_stage = () if stage == "distillation" else (stage,)
        fits = sum(part.inputs.nbytes for part in self.stored) <= memory(device) // 4
        stored = [part.to(device) if fits else part for part in self.stored]
        orders = {part.name: _order(part, total, seed, of_stage).to(part.inputs.device) for part in stored}

        @torch.no_grad()
        def make(step: int) -> Batch:
            xs, labels = [], []
            for part in stored:
                chosen = orders[part.name][step]
                x = part.inputs[chosen].to(device, torch.float32)
                of_part = () if part.name == "transfer_set" else (part.name,)
                generator = generator_for(seed, *of_stage, "augmentation", *of_part, step, device=device)
                xs.append(augmentation.apply(x, generator, real=part.real))
                none = torch.full((len(chosen),), NO_LABEL, device=chosen.device)
                labels.append((none if part.labels is None else part.labels[chosen]).to(device))
            x = torch.cat(xs) if len(xs) > 1 else xs[0]
            return Batch(x, ask(x), torch.cat(labels))

        def augment(step: int) -> Augment:
            purpose = (*of_stage, "augmentation", "generator", step)
            return lambda x: augmentation.apply(x, generator_for(seed, *purpose, device=device))

        if self.generator is None:
            workers = torch.get_num_threads() // 2 if device.type == "cpu" else 0
            yield from in_order(make, steps, workers)
            return
        for step in steps:
            x, answer = self.generator.batch(step, student, augment(step) if augmentation.fraction else None)
            made = Batch(x, answer, torch.full((len(x),), NO_LABEL, device=device))
            yield _join(make(step), made) if self.stored else made


def _join(first: Batch, second: Batch) -> Batch:
    return Batch(
        torch.cat([first.x, second.x]),
        Answer.join(first.answer, second.answer),
        torch.cat([first.labels, second.labels]),
    )


def _order(part: Stored, steps: int, seed: int, of_stage: tuple[str, ...]) -> Tensor:
    """Which samples each step takes, (steps, size): one shuffle after another, end to end."""
    samples = len(part.inputs)
    of_part = () if part.name == "transfer_set" else (part.name,)
    generator = generator_for(seed, *of_stage, "order", *of_part)
    passes = -(-steps * part.size // samples)
    shuffled = torch.cat([torch.randperm(samples, generator=generator) for _ in range(passes)])
    return shuffled[: steps * part.size].view(steps, part.size)
