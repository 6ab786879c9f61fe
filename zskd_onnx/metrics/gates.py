"""Quality gates: limits that a student must keep, and the figures beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TRAIN_LONGER = "train longer (distillation.epochs) or take a larger student"


@dataclass(frozen=True)
class Gate:
    """A quality gate and the figure that was measured for it.

    Attributes:
        name: of the option, such as "min_agreement". The value must reach a gate of this kind and may not exceed
            one that begins with "max".
        limit: what was asked for.
        value: what was measured.
    """

    name: str
    limit: float
    value: float

    @property
    def passed(self) -> bool:
        """Whether the value keeps the limit."""
        return self.value <= self.limit if self.name.startswith("max") else self.value >= self.limit

    @property
    def figure(self) -> str:
        """Name of what was measured, such as "accuracy drop"."""
        return self.name.partition("_")[2].replace("_", " ")

    def __str__(self) -> str:
        bound = "less" if self.name.startswith("max") else "more"
        text = f"{self.figure} {self.value:.4f}, expected {self.limit} or {bound}"
        if self.passed:
            return text
        return f"{text}; {'take a smaller student' if self.figure == 'latency ratio' else TRAIN_LONGER}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        return {"gate": self.name, "limit": self.limit, "value": self.value, "passed": self.passed}


@dataclass(frozen=True)
class Gates:
    """The limits of a run or of a verification.

    Attributes:
        min_agreement: smallest agreement with the teacher, a fraction; 0 for none.
        min_accuracy: smallest accuracy on real samples, a fraction; 0 for none.
        max_accuracy_drop: largest difference of the teacher's accuracy and the student's on real samples, a fraction;
            None for none.
        max_latency_ratio: largest ratio of the student's median latency to the teacher's; None for none.
    """

    min_agreement: float = 0.0
    min_accuracy: float = 0.0
    max_accuracy_drop: float | None = None
    max_latency_ratio: float | None = None

    @property
    def asked(self) -> dict[str, float]:
        """Name -> limit of the gates that are set."""
        limits = {**vars(self), "min_agreement": self.min_agreement or None, "min_accuracy": self.min_accuracy or None}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def need_labels(self) -> list[str]:
        """Names of the set gates that only real samples with labels decide."""
        return [name for name in self.asked if "accuracy" in name]

    def judge(
        self,
        *,
        agreement: float | None,
        accuracy: float | None,
        teacher_accuracy: float | None,
        latency_ratio: float | None,
    ) -> tuple[Gate, ...]:
        """The gates that are set and whose figure was measured; None says that it was not."""
        drop = None if accuracy is None or teacher_accuracy is None else teacher_accuracy - accuracy
        figures = {
            "min_agreement": agreement,
            "min_accuracy": accuracy,
            "max_accuracy_drop": drop,
            "max_latency_ratio": latency_ratio,
        }
        return tuple(
            Gate(name, limit, value) for name, limit in self.asked.items() if (value := figures[name]) is not None
        )


def missed(gates: tuple[Gate, ...]) -> tuple[str, ...]:
    """A sentence for each gate that was missed."""
    return tuple(str(gate) for gate in gates if not gate.passed)


def option_of(gate: str) -> str:
    """The option of the command line for the name of a gate."""
    return f"--{gate.replace('_', '-')}"
