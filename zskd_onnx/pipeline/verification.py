"""The result of a verification. It needs no torch, so that the process that prints it starts quickly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from zskd_onnx.errors import QualityError
from zskd_onnx.metrics.gates import Gate, missed
from zskd_onnx.system.timings import LatencyComparison

T = TypeVar("T")

NO_TEACHER = "no teacher given"


@dataclass(frozen=True)
class Pair(Generic[T]):
    """A figure of the teacher and the same of the student."""

    teacher: T
    student: T


@dataclass(frozen=True)
class Verification:
    """The result of a verification. Shares are fractions in [0, 1].

    Attributes:
        student: the file.
        parity: largest relative difference between onnxruntime and this package's import of the file, at two batch sizes.
        digest: "matches" the manifest beside the file, or "no manifest".
        class_names: names of the classes, or None where the file has none.
        teacher_digest: "matches" what the manifest or the student's metadata has, "not recorded", or "no teacher
            given".
        interface: "fits" the teacher's, "lacks" some of the teacher's outputs, or "no teacher given".
        missing_outputs: names of the teacher's outputs that the student lacks.
        bytes: sizes of the files, with external data; None without a teacher, as all that follows.
        parameters: number of weights.
        multiply_adds: multiply-adds of convolutions and matrix products for one sample.
        latency: of both in onnxruntime.
        samples: number of samples that were compared: the evaluation data or else the transfer set beside the student;
            0 without either.
        agreement: share of samples to which student and teacher give the same class; None without samples.
        divergence: mean KL divergence from the teacher to the student, in nats; None without samples.
        confident_agreement: agreement on the samples of which the teacher is confident (at least 90 %); None where
            there are none.
        accuracy: on the evaluation data, or None.
        class_accuracy: the same for each class, or None; a class without a sample has None.
        gates: quality gates and what was measured for them.
        notes: how the evaluation data were read, and warnings where guessing would do as well.
    """

    student: Path
    parity: float
    digest: str
    class_names: tuple[str, ...] | None
    teacher_digest: str = NO_TEACHER
    interface: str = NO_TEACHER
    missing_outputs: tuple[str, ...] = ()
    bytes: Pair[int] | None = None
    parameters: Pair[int] | None = None
    multiply_adds: Pair[int] | None = None
    latency: LatencyComparison | None = None
    samples: int = 0
    agreement: float | None = None
    divergence: float | None = None
    confident_agreement: float | None = None
    accuracy: Pair[float] | None = None
    class_accuracy: Pair[tuple[float | None, ...]] | None = None
    gates: tuple[Gate, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def missed_gates(self) -> tuple[str, ...]:
        """A sentence for each quality gate that the student missed."""
        return missed(self.gates)

    def check(self) -> None:
        """Raise QualityError if the student missed a quality gate."""
        if self.missed_gates:
            raise QualityError(f"{self.student}: {'; '.join(self.missed_gates)}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``; what was not measured is left out."""
        content: dict[str, Any] = {
            "student": str(self.student),
            "parity": {"max_difference": self.parity},
            "digest": self.digest,
            "teacher_digest": self.teacher_digest,
            "interface": self.interface,
            "missing_outputs": list(self.missing_outputs),
            "gates": [gate.to_dict() for gate in self.gates],
            "missed_gates": list(self.missed_gates),
            "notes": list(self.notes),
        }
        pairs = ("bytes", "parameters", "multiply_adds", "accuracy", "class_accuracy")
        content |= {name: asdict(pair) for name in pairs if (pair := getattr(self, name)) is not None}
        figures = ("agreement", "divergence", "confident_agreement", "class_names")
        content |= {name: figure for name in figures if (figure := getattr(self, name)) is not None}
        if self.latency is not None:
            content["latency"] = self.latency.to_dict()
        if self.samples:
            content["samples"] = self.samples
        return content
