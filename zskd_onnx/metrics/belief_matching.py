"""Belief matching: does the teacher change its mind where the student does?

Micaelli & Storkey 2019, section 4.4; the replication, section 2.5 and equation 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from zskd_onnx.errors import UsageError
from zskd_onnx.events import Event, Listener, silent
from zskd_onnx.settings import Settings

Classifier = Callable[[Tensor], Tensor]
"""Maps samples (N, *shape) in the unit space to logits (N, K), differentiably."""


@dataclass(frozen=True)
class Transitions:
    """What was seen on the way from each sample to every other class j.

    Attributes:
        error: mean transition error: |p_j of the student - p_j of the teacher|, the mean over
            steps, classes and samples.
        student, teacher: mean p_j after each step.
        samples: how many samples were walked from.
    """

    error: float
    student: tuple[float, ...]
    teacher: tuple[float, ...]
    samples: int


class BeliefMatching(Settings):
    """How to walk.

    Steps are taken in the unit space, where a sample's values begin between 0 and 1; they may
    leave it. Where a sample is divided by a deviation s first, a rate xi is a rate s^2 xi here.

    Attributes:
        samples: how many to walk from; fewer where the two agree on fewer.
        steps: gradient steps from each sample to each other class, K.
        rate: what the gradient is multiplied with, xi.
    """

    samples: PositiveInt = 200
    steps: PositiveInt = 100
    rate: NonNegativeFloat = 1.0

    def measure(
        self,
        student: Classifier,
        teacher: Classifier,
        inputs: Tensor,
        generator: torch.Generator,
        *,
        batch_size: int = 256,
        listener: Listener = silent,
    ) -> Transitions:
        """Walk down the student's loss from samples that both give one class to every other class.

        Args:
            inputs: (N, *shape) in the unit space, where the two classifiers take them.
            generator: on the CPU; draws the samples to walk from.
            batch_size: pairs of sample and class that walk together.

        Raises:
            UsageError: the two agree on no sample.
        """
        starts, goals, samples = self._pairs(student, teacher, inputs, generator, batch_size)
        curves = torch.zeros(2, self.steps, dtype=torch.float64, device=inputs.device)
        error = torch.zeros((), dtype=torch.float64, device=inputs.device)
        total, done = len(starts) * self.steps, 0
        for rows, goal in zip(starts.split(batch_size), goals.split(batch_size), strict=True):
            for step, beliefs in enumerate(self._walk(student, teacher, inputs[rows], goal)):
                curves[:, step] += beliefs.sum(1)
                error += (beliefs[0] - beliefs[1]).abs().sum()
                done += len(rows)
                listener(Event("progress", "belief matching", completed=done, total=total))
        listener(Event("done", "belief matching", f"{samples:,} samples, {len(starts):,} walks", total, total))
        ours, theirs = (curves / len(starts)).tolist()
        return Transitions(float(error) / total, tuple(ours), tuple(theirs), samples)

    @torch.no_grad()
    def _pairs(
        self, student: Classifier, teacher: Classifier, inputs: Tensor, generator: torch.Generator, batch_size: int
    ) -> tuple[Tensor, Tensor, int]:
        """Where each walk starts, a row of ``inputs``; the class that it goes to; how many samples start one."""
        parts = inputs.split(batch_size)
        ours, theirs = (torch.cat([net(part) for part in parts]) for net in (student, teacher))
        named = ours.argmax(1)
        alike = (named == theirs.argmax(1)).nonzero()[:, 0]
        if not len(alike):
            raise UsageError(
                f"student and teacher agree on none of {len(inputs)} samples, and belief matching starts where they "
                "agree; leave --belief-matching out"
            )
        chosen = alike[torch.randperm(len(alike), generator=generator)[: self.samples].to(alike.device)]
        others = torch.arange(ours.shape[1], device=inputs.device) != named[chosen, None]
        index, goals = others.nonzero(as_tuple=True)
        return chosen[index], goals, len(chosen)

    def _walk(self, student: Classifier, teacher: Classifier, x: Tensor, goal: Tensor) -> Iterator[Tensor]:
        """The goal's probability by student and teacher, (2, N), after each step."""
        x = x.requires_grad_()
        logits = student(x)
        for _ in range(self.steps):
            # A sum, so that a sample's gradient does not depend on its neighbours.
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, goal, reduction="sum"), x)
            x = (x.detach() - self.rate * gradient).requires_grad_()
            logits = student(x)
            with torch.no_grad():
                yield torch.stack([_belief(logits, goal), _belief(teacher(x), goal)])


def _belief(logits: Tensor, goal: Tensor) -> Tensor:
    """The goal's probability (N,)."""
    return logits.double().softmax(1).gather(1, goal[:, None])[:, 0]
