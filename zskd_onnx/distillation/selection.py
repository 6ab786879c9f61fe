"""Choosing a student without real data: by what it makes of held-out samples."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.losses import soft_target_loss
from zskd_onnx.teacher.teacher import Teacher

PART = 512

Score = Callable[[nn.Module], float]

SURE = 0.9
"""What a teacher that is sure gives to its class at least, at temperature 1."""


@dataclass(frozen=True)
class Comparison:
    """A student beside its teacher on the same samples, fractions in [0, 1].

    Attributes:
        agreement: share on which both name the same class.
        sure: share of which the teacher is sure, see ``SURE``.
        sure_agreement: agreement on those; None where there are none.
        loss: mean soft-target loss.
    """

    agreement: float
    sure: float
    sure_agreement: float | None
    loss: float


@torch.no_grad()
def compare(student: nn.Module, teacher: Teacher, inputs: Tensor, temperature: float = 1.0) -> Comparison:
    """Compare a student with its teacher.

    Args:
        inputs: (N, *shape) in the unit space.
        temperature: of the loss.
    """
    device = next(student.parameters()).device
    same = sure = both = 0
    loss = 0.0
    for part in inputs.split(PART):
        x = part.to(device, torch.float32)
        ours, theirs = student(x).float(), teacher.logits(teacher.domain.to_file(x)).float()
        agreed, certain = ours.argmax(1) == theirs.argmax(1), theirs.softmax(1).amax(1) >= SURE
        same, sure, both = same + int(agreed.sum()), sure + int(certain.sum()), both + int((agreed & certain).sum())
        loss += float(soft_target_loss(ours, theirs, temperature)) * len(x)
    count = len(inputs)
    return Comparison(same / count, sure / count, both / sure if sure else None, loss / count)


class Checks:
    """Measures a student now and then, and remembers the best.

    The best is the one with the least soft-target loss, at the temperature of its training. At temperature 1
    a few samples of which it is sure and wrong outweigh all others: with 600 impressions the student that was
    kept so lay 36 points below the best on the way, with this loss 1.5.

    A generator's samples get harder as it learns, and what a student makes of them says nothing of how
    good it is (rank correlation with real accuracy -0.2 to 0 on MNIST): where they are all there is,
    the latest student is kept.

    Attributes:
        history: of each check the step, soft-target loss and agreement on held-out samples, and the real
            accuracy where somebody gave data to score on. That figure is written down and chooses nothing.
        chosen: the step of the best.
        growing: whether held-out samples come from a generator, as it learns; they choose nothing.
    """

    def __init__(
        self,
        teacher: Teacher,
        held_out: Tensor,
        watch: Score | None = None,
        *,
        temperature: float = 1.0,
        growing: bool | None = None,
    ) -> None:
        """
        Args:
            held_out: (N, *shape) in the unit space; train nothing. None of them, where a generator is
                still to give some.
            temperature: of the soft targets that the student is trained on.
            watch: accuracy on real samples.
            growing: see the attribute; default: where there are none yet.
        """
        self.teacher = teacher
        self.held_out = held_out
        self.history: list[dict[str, Any]] = []
        self.chosen = 0
        self.growing = not len(held_out) if growing is None else growing
        self._watch = watch
        self._temperature = temperature
        self._best: dict[str, Tensor] | None = None
        self._best_loss = float("inf")
        self._since = 0

    def add(self, samples: Tensor) -> None:
        """More held-out samples."""
        samples = samples.to("cpu", torch.float16)
        self.held_out = samples if not len(self.held_out) else torch.cat([self.held_out, samples])

    def measure(self, student: nn.Module, step: int) -> dict[str, Any]:
        """Measure the student, in inference mode, and keep its weights if it is the best so far."""
        student.eval()
        compared = compare(student, self.teacher, self.held_out, self._temperature)
        loss = compared.loss
        found: dict[str, Any] = {"step": step, "loss": round(loss, 6), "agreement": round(compared.agreement, 6)}
        if self._watch is not None:
            found["accuracy"] = round(self._watch(student), 6)
        if self.growing or loss <= self._best_loss:
            self._best, self._best_loss, self.chosen, self._since = _weights(student), loss, step, 0
        else:
            self._since += 1
        self.history.append(found)
        student.train()
        return found

    def begins(self, stage: str) -> bool:
        """Whether the student that a stage begins with, which earlier ones trained, is still to be measured."""
        return stage != "distillation" and not self.growing and not self.history

    def exhausted(self, patience: int | None) -> bool:
        """Whether the last ``patience`` checks brought nothing better."""
        return patience is not None and self._since >= patience

    def restore(self, student: nn.Module) -> None:
        """Give the student the weights of the best."""
        if self._best is not None:
            student.load_state_dict(self._best)

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on from here."""
        return {
            "history": copy.deepcopy(self.history),
            "chosen": self.chosen,
            "best": self._best,
            "best_loss": self._best_loss,
            "since": self._since,
            "held_out": self.held_out,
            "growing": self.growing,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self.chosen, self._since = state["history"], state["chosen"], state["since"]
        self._best, self._best_loss, self.held_out = state["best"], state["best_loss"], state["held_out"].cpu()
        self.growing = state["growing"]


def _weights(student: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in student.state_dict().items()}
