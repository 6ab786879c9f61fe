"""The result of a run in one sentence, which claims no more than was measured."""

from __future__ import annotations

from dataclasses import dataclass

from zskd_onnx.pipeline.recorded_run import Manifest
from zskd_onnx.report.page import percent


@dataclass(frozen=True)
class Gate:
    """A quality gate of the recipe.

    Attributes:
        name: "agreement" or "accuracy".
        least: the smallest value that passes, a fraction.
        value: what was measured; None where nothing was.
    """

    name: str
    least: float
    value: float | None

    @property
    def passed(self) -> bool:
        """Whether the student passed."""
        return self.value is not None and self.value >= self.least


def gates(manifest: Manifest) -> tuple[Gate, ...]:
    """The gates that the recipe sets."""
    limits, accuracy = manifest.recipe.deployment, manifest.accuracy
    both = (
        Gate("agreement", limits.min_agreement, manifest.agreement),
        Gate("accuracy", limits.min_accuracy, None if accuracy is None else accuracy.student),
    )
    return tuple(gate for gate in both if gate.least > 0)


def verdict(manifest: Manifest) -> str:
    """What was measured of the student, and what was not."""
    if manifest.accuracy is not None:
        return (
            f"On {manifest.evaluation_samples:,} real samples, the student's accuracy is "
            f"{percent(manifest.accuracy.student)} and the teacher's {percent(manifest.accuracy.teacher)}."
        )
    held_out = manifest.held_out
    sentence = (
        f"The student gives the teacher's class for {percent(manifest.agreement)} of {held_out.samples:,} "
        f"held-out {held_out.kind}"
    )
    return f"{sentence}; its accuracy was not measured."
