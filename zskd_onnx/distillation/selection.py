"""Selection of a student's best state, without real data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.metrics.compare import compare
from zskd_onnx.teacher.teacher import Teacher

Metric = Callable[[nn.Module], float]


class StudentSelection:
    """Validates a student at intervals on held-out samples, and keeps the best weights.

    The best state has the least soft-target loss at the temperature of its training. At temperature 1 a
    few samples on which the student is confident and wrong outweigh all others: with 600 impressions
    that choice lay 36 points below the best state, this one 1.5.

    The samples of a generator get harder as it learns, and the loss on them does not track accuracy
    (rank correlation -0.2 to 0 on MNIST). Where there are no other samples, the latest state is kept.

    Attributes:
        history: for each validation the step, the soft-target loss and the agreement on held-out samples,
            and the accuracy on evaluation data where there is some. Accuracy selects nothing.
        chosen: step of the best state.
        growing: whether held-out samples come from a generator while it learns; they select nothing.
    """

    def __init__(
        self,
        teacher: Teacher,
        held_out: Tensor,
        accuracy: Metric | None = None,
        *,
        temperature: float = 1.0,
        growing: bool | None = None,
    ) -> None:
        """
        Args:
            held_out: (N, *shape) in the unit space, not trained on; empty where a generator adds them later.
            accuracy: accuracy of a student on evaluation data.
            temperature: of the soft targets in training.
            growing: see the attribute; default: whether ``held_out`` is empty.
        """
        self.teacher = teacher
        self.held_out = held_out
        self.history: list[dict[str, Any]] = []
        self.chosen = 0
        self.growing = not len(held_out) if growing is None else growing
        self._accuracy = accuracy
        self._temperature = temperature
        self._best: dict[str, Tensor] | None = None
        self._best_loss = float("inf")
        self._since = 0

    def add(self, samples: Tensor) -> None:
        """Add held-out samples."""
        samples = samples.to("cpu", torch.float16)
        self.held_out = samples if not len(self.held_out) else torch.cat([self.held_out, samples])

    def validate(self, student: nn.Module, step: int) -> dict[str, Any]:
        """Measure the student in inference mode; keep its weights if it is the best so far."""
        student.eval()
        comparison = compare(student, self.teacher, self.held_out, self._temperature)
        loss = comparison.loss
        entry: dict[str, Any] = {"step": step, "loss": round(loss, 6), "agreement": round(comparison.agreement, 6)}
        if self._accuracy is not None:
            entry["accuracy"] = round(self._accuracy(student), 6)
        if self.growing or loss <= self._best_loss:
            self._best, self._best_loss, self.chosen, self._since = _weights(student), loss, step, 0
        else:
            self._since += 1
        self.history.append(entry)
        student.train()
        return entry

    def needs_first_validation(self, stage: str) -> bool:
        """Whether a stage begins with a trained student that has not been validated yet."""
        return stage != "distillation" and not self.growing and not self.history

    def exhausted(self, patience: int | None) -> bool:
        """Whether the last ``patience`` validations brought no better student."""
        return patience is not None and self._since >= patience

    def restore(self, student: nn.Module) -> None:
        """Load the best weights into the student."""
        if self._best is not None:
            student.load_state_dict(self._best)

    def state_dict(self) -> dict[str, Any]:
        """State from which an interrupted run continues."""
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
        """Restore what ``state_dict`` gave."""
        self.history, self.chosen, self._since = state["history"], state["chosen"], state["since"]
        self._best, self._best_loss, self.held_out = state["best"], state["best_loss"], state["held_out"].cpu()
        self.growing = state["growing"]


def _weights(student: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in student.state_dict().items()}
