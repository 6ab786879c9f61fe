"""Belief matching: whether teacher and student change their prediction together along gradient steps.

Micaelli & Storkey 2019, section 4.4; Ferles et al. 2020, section 2.5 and equation 5.
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
"""From samples (N, *shape) in the unit space to logits (N, K), differentiably."""


@dataclass(frozen=True)
class Transitions:
    """Class probabilities along the paths from each sample to every other class j.

    Attributes:
        error: mean transition error: |p_j of the student - p_j of the teacher|, averaged over steps,
            classes and samples.
        student: the student's mean p_j after each step.
        teacher: the teacher's mean p_j after each step.
        samples: number of samples that paths start from.
    """

    error: float
    student: tuple[float, ...]
    teacher: tuple[float, ...]
    samples: int


class BeliefMatching(Settings):
    """Settings of the measurement.

    Steps are taken in the unit space and may leave [0, 1]. If the papers divide samples by a standard
    deviation s, their rate xi corresponds to s^2 xi here.

    Attributes:
        samples: largest number of samples that paths start from; student and teacher must predict the same
            class for them.
        steps: number of gradient steps from each sample to each other class, K in the papers.
        rate: step size, xi in the papers.
    """

    samples: PositiveInt = 200
    steps: PositiveInt = 100
    rate: NonNegativeFloat = 1.0

    def measure(
        self,
        student: Classifier,
        teacher: Classifier,
        inputs: Tensor,
        rng: torch.Generator,
        *,
        batch_size: int = 256,
        listener: Listener = silent,
    ) -> Transitions:
        """Descend the student's loss from samples of one class to every other class, and compare probabilities.

        Args:
            inputs: samples (N, *shape) in the unit space, on the classifiers' device.
            rng: random generator on the CPU; draws the samples that paths start from.
            batch_size: number of paths that are computed together.
            listener: receives progress events.

        Raises:
            UsageError: student and teacher agree on no sample.
        """
        starts, goals, samples = self._pairs(student, teacher, inputs, rng, batch_size)
        curves = torch.zeros(2, self.steps, dtype=torch.float64, device=inputs.device)
        error = torch.zeros((), dtype=torch.float64, device=inputs.device)
        total, done = len(starts) * self.steps, 0
        listener(Event("progress", "belief matching", completed=0, total=total))
        for rows, goal in zip(starts.split(batch_size), goals.split(batch_size), strict=True):
            for step, probabilities in enumerate(self._follow(student, teacher, inputs[rows], goal)):
                curves[:, step] += probabilities.sum(1)
                error += (probabilities[0] - probabilities[1]).abs().sum()
                done += len(rows)
                listener(Event("progress", "belief matching", completed=done, total=total))
        listener(Event("done", "belief matching", f"{samples:,} samples, {len(starts):,} paths", total, total))
        student_curve, teacher_curve = (curves / len(starts)).tolist()
        return Transitions(float(error) / total, tuple(student_curve), tuple(teacher_curve), samples)

    @torch.no_grad()
    def _pairs(
        self, student: Classifier, teacher: Classifier, inputs: Tensor, rng: torch.Generator, batch_size: int
    ) -> tuple[Tensor, Tensor, int]:
        """The starts of all paths as rows of ``inputs``, the goal class of each, and the number of samples."""
        parts = inputs.split(batch_size)
        student_logits, teacher_logits = (torch.cat([net(part) for part in parts]) for net in (student, teacher))
        predictions = student_logits.argmax(1)
        agreeing = (predictions == teacher_logits.argmax(1)).nonzero()[:, 0]
        if not len(agreeing):
            raise UsageError(
                f"student and teacher agree on none of {len(inputs)} samples, and belief matching starts from samples "
                "on which they agree; remove --belief-matching"
            )
        chosen = agreeing[torch.randperm(len(agreeing), generator=rng)[: self.samples].to(agreeing.device)]
        others = torch.arange(student_logits.shape[1], device=inputs.device) != predictions[chosen, None]
        index, goals = others.nonzero(as_tuple=True)
        return chosen[index], goals, len(chosen)

    def _follow(self, student: Classifier, teacher: Classifier, x: Tensor, goal: Tensor) -> Iterator[Tensor]:
        """The goal's probability by student and teacher, (2, N), after each step."""
        x = x.requires_grad_()
        logits = student(x)
        for _ in range(self.steps):
            # The sum makes the gradient of a sample independent of the others.
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, goal, reduction="sum"), x)
            x = (x.detach() - self.rate * gradient).requires_grad_()
            logits = student(x)
            with torch.no_grad():
                yield torch.stack([_probability(logits, goal), _probability(teacher(x), goal)])


def _probability(logits: Tensor, goal: Tensor) -> Tensor:
    """Probability (N,) of the goal class."""
    return logits.double().softmax(1).gather(1, goal[:, None])[:, 0]
