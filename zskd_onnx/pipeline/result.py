"""The result of a run."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from zskd_onnx.errors import QualityError
from zskd_onnx.export.checks import Parity
from zskd_onnx.metrics.gates import Gate
from zskd_onnx.metrics.onnx_scores import Accuracies
from zskd_onnx.pipeline.quantization_result import Quantization
from zskd_onnx.pipeline.run_folder import REPORT
from zskd_onnx.system.timings import LatencyComparison
from zskd_onnx.teacher.probes.answers import Answers
from zskd_onnx.teacher.signature.domain import Domain

SMOKE = "This is a smoke run: every stage ran at toy size, so the student is useless and was not judged."
"""What begins the texts about a smoke run."""


@dataclass(frozen=True)
class ModelFigures:
    """Size of one model.

    Attributes:
        path: of the ONNX file.
        bytes: size of the file.
        parameters: number of weights.
        multiply_adds: multiply-adds of convolutions and matrix products for one sample.
    """

    path: str
    bytes: int
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class InputRange:
    """The input range of a run.

    Attributes:
        low, high: of each channel, or one number for all.
        source: where they come from.
        certainty: how certain they are, see ``teacher.signature.domain.Certainty``.
        words: all of this, such as "in the inferred range 0..255".
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    source: str
    certainty: str
    words: str

    @classmethod
    def of(cls, domain: Domain) -> InputRange:
        """The range of a domain."""
        return cls(domain.low, domain.high, domain.range_source, domain.certainty, domain.range_in_words)


@dataclass(frozen=True)
class CompressionResult:
    """The result of a run. Accuracies and agreement are fractions in [0, 1].

    Attributes:
        student: path of the ONNX file.
        parity: difference between onnxruntime and torch on the student.
        agreement: share of held-out synthesised samples to which student and teacher give the same class.
        confident: share of these of which the teacher is confident (at least 90 %).
        confident_agreement: agreement on those, which is nearer to that on real samples; None where there are none.
        accuracy: of both on the evaluation data, and their agreement there; None without evaluation data.
        teacher_size, student_size: sizes of the two files.
        seconds: stage -> seconds.
        answers: the teacher's predictions on the samples that the student was to be trained on.
        domain: the input range, and how certain it is.
        warnings: reasons to doubt that the student serves on real samples.
        notes: what was assumed or decided, and the warnings.
        history: training stage -> its validations.
        chosen: training stage -> the step whose weights were kept.
        gates: quality gates of the recipe, and what was measured for them.
        missed_gates: those that the student missed, and of the quantised one, a sentence each.
        latency: of both files in onnxruntime; None for runs of earlier versions.
        manifest: path of the manifest.
        quantization: the quantised student beside the float one; None without it.
        smoke: whether this was a smoke run. Its files are removed, its student is a toy, and no gate was judged; sizes,
            parity and latency are those of the architecture.
    """

    student: Path
    parity: Parity
    agreement: float
    confident: float
    confident_agreement: float | None
    accuracy: Accuracies | None
    teacher_size: ModelFigures
    student_size: ModelFigures
    seconds: dict[str, float]
    answers: Answers
    domain: InputRange
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    history: dict[str, list[dict[str, Any]]]
    chosen: dict[str, int]
    gates: tuple[Gate, ...]
    missed_gates: tuple[str, ...]
    latency: LatencyComparison | None
    manifest: Path
    quantization: Quantization | None = None
    smoke: bool = False

    @property
    def report(self) -> Path:
        """Path of the report, a page for a browser."""
        return self.manifest.with_name(REPORT)

    def check(self) -> None:
        """Raise QualityError if the student missed a quality gate of the recipe."""
        if self.missed_gates:
            raise QualityError(f"{self.student}: {'; '.join(self.missed_gates)}")

    def __repr__(self) -> str:
        return f"CompressionResult({', '.join(f'{name} {value}' for name, value in self._summary().items())})"

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        rows = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self._summary().items())
        return f"<table>{''.join(rows)}</table>"

    def _summary(self) -> dict[str, str]:
        rows = {"smoke run": SMOKE} if self.smoke else {}
        rows |= {"student": str(self.student), "agreement": f"{self.agreement:.4f}"}
        if self.confident_agreement is not None:
            rows["confident agreement"] = f"{self.confident_agreement:.4f}"
        rows["answers"] = f"{self.answers}, {self.domain.words}"
        if self.accuracy is not None:
            rows["accuracy"] = f"{self.accuracy.student:.4f} (teacher {self.accuracy.teacher:.4f})"
        rows["parameters"] = f"{self.student_size.parameters:,} (teacher {self.teacher_size.parameters:,})"
        rows["multiply-adds"] = f"{self.student_size.multiply_adds:,} (teacher {self.teacher_size.multiply_adds:,})"
        rows["parity"] = f"{self.parity.max_abs_difference:.2g}"
        if self.warnings:
            rows["warnings"] = "; ".join(self.warnings)
        if self.missed_gates:
            rows["missed gates"] = "; ".join(self.missed_gates)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        content: dict[str, Any] = {
            "student": str(self.student),
            "manifest": str(self.manifest),
            "report": str(self.report),
            "parity": vars(self.parity),
            "agreement": self.agreement,
            "confident": {"share": self.confident, "agreement": self.confident_agreement},
            "answers": self.answers.to_dict(),
            "input_range": vars(self.domain),
            "sizes": {"teacher": vars(self.teacher_size), "student": vars(self.student_size)},
            "seconds": self.seconds,
            "chosen": self.chosen,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "gates": [gate.to_dict() for gate in self.gates],
            "missed_gates": list(self.missed_gates),
            "latency": None if self.latency is None else self.latency.to_dict(),
        }
        if self.smoke:
            content = {"smoke": True, **content, "student": None, "manifest": None, "report": None}
        if self.accuracy is not None:
            content["accuracy"] = {"teacher": self.accuracy.teacher, "student": self.accuracy.student}
            content["evaluation_agreement"] = self.accuracy.agreement
        if self.quantization is not None:
            content["quantization"] = self.quantization.to_dict()
        return content

    @classmethod
    def from_dict(cls, content: dict[str, Any], folder: Path) -> CompressionResult:
        """The result that the manifest of a run folder holds.

        Raises:
            KeyError, TypeError: the content is something else.
        """
        accuracy, confident, sizes = content.get("accuracy"), content["confident"], content["sizes"]
        student = folder / Path(content["student"]).name
        quantization = content.get("quantization")
        return cls(
            student=student,
            parity=Parity(**content["parity"]),
            agreement=content["agreement"],
            confident=confident["share"],
            confident_agreement=confident["agreement"],
            accuracy=None if accuracy is None else Accuracies(**accuracy, agreement=content["evaluation_agreement"]),
            teacher_size=ModelFigures(**sizes["teacher"]),
            student_size=ModelFigures(**{**sizes["student"], "path": str(student)}),
            seconds=content["seconds"],
            answers=Answers(**content["answers"]),
            domain=InputRange(**{key: _tuple(value) for key, value in content["input_range"].items()}),
            warnings=tuple(content["warnings"]),
            notes=tuple(content["notes"]),
            history=content["history"],
            chosen=content["chosen"],
            gates=tuple(Gate(gate["gate"], gate["limit"], gate["value"]) for gate in content.get("gates", ())),
            missed_gates=tuple(content["missed_gates"]),
            latency=None if content.get("latency") is None else LatencyComparison.from_dict(content["latency"]),
            manifest=folder / Path(content["manifest"]).name,
            quantization=None if quantization is None else Quantization.from_dict(quantization, folder),
            smoke=content.get("smoke", False),
        )


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
