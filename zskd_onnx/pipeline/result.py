"""What a run gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zskd_onnx.errors import QualityError
from zskd_onnx.export.checks import Parity
from zskd_onnx.metrics.onnx_scores import Accuracies


@dataclass(frozen=True)
class ModelFigures:
    """Size of one model.

    Attributes:
        path: of the ONNX file.
        bytes: of the file.
        parameters: elements of its weights.
    """

    path: str
    bytes: int
    parameters: int


@dataclass(frozen=True)
class CompressionResult:
    """What a run gave. Accuracies and agreement are fractions in [0, 1].

    Attributes:
        student: path of the ONNX file.
        parity: onnxruntime against torch on the student.
        agreement: with the teacher, on held-out synthesised samples.
        sure: share of these of which the teacher is sure, at least 90 %.
        sure_agreement: agreement on those, which is nearer to that on real samples; None where there are none.
        accuracy: of both on the evaluation data, and their agreement there; None if not scored.
        teacher_size, student_size: sizes.
        seconds: time of each stage.
        notes: what was assumed or chosen.
        history: of each stage of training, what was measured of the student on the way.
        chosen: of each stage, the step whose weights were kept.
        missed_gates: what the student falls short of, a sentence each.
        manifest: path of the manifest.
    """

    student: Path
    parity: Parity
    agreement: float
    sure: float
    sure_agreement: float | None
    accuracy: Accuracies | None
    teacher_size: ModelFigures
    student_size: ModelFigures
    seconds: dict[str, float]
    notes: tuple[str, ...]
    history: dict[str, list[dict[str, Any]]]
    chosen: dict[str, int]
    missed_gates: tuple[str, ...]
    manifest: Path

    def check_gates(self) -> None:
        """Raise QualityError if the student missed a gate of the recipe's deployment section."""
        if self.missed_gates:
            raise QualityError(f"{self.student}: {'; '.join(self.missed_gates)}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        found: dict[str, Any] = {
            "student": str(self.student),
            "manifest": str(self.manifest),
            "parity": vars(self.parity),
            "agreement": self.agreement,
            "sure": {"share": self.sure, "agreement": self.sure_agreement},
            "sizes": {"teacher": vars(self.teacher_size), "student": vars(self.student_size)},
            "seconds": self.seconds,
            "chosen": self.chosen,
            "notes": list(self.notes),
            "missed_gates": list(self.missed_gates),
        }
        if self.accuracy is not None:
            found["accuracy"] = {"teacher": self.accuracy.teacher, "student": self.accuracy.student}
            found["evaluation_agreement"] = self.accuracy.agreement
        return found
