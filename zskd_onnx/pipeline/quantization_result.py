"""The figures of a quantised file beside the float file that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zskd_onnx.errors import QualityError
from zskd_onnx.export.settings import Form
from zskd_onnx.metrics.onnx_scores import Accuracies
from zskd_onnx.quantization.stored_model import StoredModel
from zskd_onnx.system.timings import Latency, LatencyComparison


@dataclass(frozen=True)
class ChangedWeights:
    """How an int8 file's weights differ from the float file's, because those missed the gate.

    Attributes:
        equalised: whether the channels of activations were brought to equal ranges, which keeps the function.
        steps: of the quantisation-aware fine-tuning; 0 without one.
        agreement_before: agreement of the int8 file with the float file's own weights.
    """

    equalised: bool
    steps: int
    agreement_before: float

    def __str__(self) -> str:
        done = ["equalised"] if self.equalised else []
        if self.steps:
            done.append(f"fine-tuned for {self.steps:,} steps")
        return " and ".join(done)


@dataclass(frozen=True)
class Quantization:
    """A quantised file beside the float file. Accuracies and agreement are fractions in [0, 1].

    Attributes:
        form: "int8" or "fp16".
        float_file, quantized_file: sizes and element types, read from the files.
        samples: those that calibrated and judged, in words.
        judged: number of held-out samples.
        confident: number of those of which the float file is confident (at least 90 %).
        agreement: share of the confident ones to which both files give the same class; None where there are none.
        changed_weights: how the weights of an int8 file were changed because it missed the gate; None if they are the
            float file's.
        accuracy: of the float file ("teacher") and the quantised one ("student") on the evaluation data, or None.
        latency: of the float file ("teacher") and the quantised one ("student").
        missed_gates: quality gates that the quantised file missed, a sentence each.
        notes: what was assumed or decided, and warnings.
    """

    form: Form
    float_file: StoredModel
    quantized_file: StoredModel
    samples: str
    judged: int
    confident: int
    agreement: float | None
    accuracy: Accuracies | None
    latency: LatencyComparison
    missed_gates: tuple[str, ...]
    notes: tuple[str, ...]
    changed_weights: ChangedWeights | None = None

    def check(self) -> None:
        """Raise QualityError if the quantised file missed a quality gate."""
        if self.missed_gates:
            raise QualityError(f"{self.quantized_file.path}: {'; '.join(self.missed_gates)}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        content: dict[str, Any] = {
            "form": self.form,
            "float": vars(self.float_file),
            "quantized": vars(self.quantized_file),
            "samples": self.samples,
            "judged": self.judged,
            "confident": self.confident,
            "agreement": self.agreement,
            "latency": {
                "float": vars(self.latency.teacher),
                "quantized": vars(self.latency.student),
                "conditions": self.latency.conditions,
                "ratio": self.latency.ratio,
            },
            "missed_gates": list(self.missed_gates),
            "notes": list(self.notes),
        }
        if self.changed_weights is not None:
            content["changed_weights"] = vars(self.changed_weights)
        if self.accuracy is not None:
            content["accuracy"] = {"float": self.accuracy.teacher, "quantized": self.accuracy.student}
            content["evaluation_agreement"] = self.accuracy.agreement
        return content

    @classmethod
    def from_dict(cls, content: dict[str, Any], folder: Path) -> Quantization:
        """The figures that the manifest of a run folder holds.

        Raises:
            KeyError, TypeError: the content is something else.
        """
        latency, accuracy = content["latency"], content.get("accuracy")
        changed = content.get("changed_weights")
        return cls(
            form=content["form"],
            float_file=_stored_model(content["float"], folder),
            quantized_file=_stored_model(content["quantized"], folder),
            samples=content["samples"],
            judged=content["judged"],
            confident=content["confident"],
            agreement=content["agreement"],
            accuracy=None
            if accuracy is None
            else Accuracies(accuracy["float"], accuracy["quantized"], content["evaluation_agreement"]),
            latency=LatencyComparison(
                Latency(**latency["float"]), Latency(**latency["quantized"]), latency["conditions"]
            ),
            missed_gates=tuple(content["missed_gates"]),
            notes=tuple(content["notes"]),
            changed_weights=None if changed is None else ChangedWeights(**changed),
        )


def _stored_model(content: dict[str, Any], folder: Path) -> StoredModel:
    """A file's figures from a manifest; the file is in the folder, which may have moved."""
    return StoredModel(**{**content, "path": str(folder / Path(content["path"]).name)})
