"""A finished run as its folder records it, for reports. The files need not be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from zskd_onnx.config.first_fault import first_fault
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.errors import UsageError
from zskd_onnx.export.settings import Form
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.report_data import ReportData
from zskd_onnx.report.shown_names import shown_names
from zskd_onnx.system.bounded_json import read_json

Share = Annotated[float, Field(ge=0, le=1)]
Stage = Literal["distillation", "fine-tuning"]
Amount = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Confident(_Part):
    """Held-out samples of which the teacher is confident: their share, and the agreement on them."""

    share: Share
    agreement: Share | None


class Accuracy(_Part):
    """Accuracy on the evaluation data."""

    teacher: Share
    student: Share


class Predictions(_Part):
    """The part of the teacher's predictions that a report needs."""

    classes: Annotated[int, Field(ge=1, le=10**6)]


class ValueRange(_Part):
    """The input range; see ``InputRange``."""

    low: Annotated[tuple[float, ...], Field(min_length=1)]
    high: Annotated[tuple[float, ...], Field(min_length=1)]
    source: str
    certainty: str


class FileInput(_Part):
    """The input of teacher and student."""

    name: str
    dtype: str
    layout: str
    layout_source: str
    shape: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class FileSize(_Part):
    """Size of a model; see ``ModelFigures``."""

    path: str
    bytes: NonNegativeInt
    parameters: NonNegativeInt
    multiply_adds: NonNegativeInt


class Sizes(_Part):
    """Sizes of both models."""

    teacher: FileSize
    student: FileSize


class Time(_Part):
    """Times of one batch in seconds; see ``Latency``."""

    median: Amount
    p95: Amount


class Times(_Part):
    """Times of both models; see ``LatencyComparison``."""

    teacher: Time
    student: Time
    conditions: str


class GateResult(_Part):
    """A quality gate; see ``Gate``."""

    gate: Literal["min_agreement", "min_accuracy", "max_accuracy_drop", "max_latency_ratio"]
    limit: float
    value: float


class QuantizedFile(_Part):
    """Name and size of a file; see ``StoredModel``."""

    path: str
    bytes: NonNegativeInt


class QuantizedAccuracy(_Part):
    """Accuracy of both files on the evaluation data."""

    before: Annotated[Share, Field(alias="float")]
    after: Annotated[Share, Field(alias="quantized")]


class QuantizedTimes(_Part):
    """Times of both files; see ``LatencyComparison``."""

    before: Annotated[Time, Field(alias="float")]
    after: Annotated[Time, Field(alias="quantized")]
    conditions: str


class Changed(_Part):
    """What was done to the weights of an int8 file; see ``ChangedWeights``."""

    equalised: bool
    steps: NonNegativeInt
    agreement_before: Share


class Quantized(_Part):
    """The quantised student; see ``Quantization``."""

    form: Form
    quantized: QuantizedFile
    confident: NonNegativeInt
    agreement: Share | None
    changed_weights: Changed | None = None
    accuracy: QuantizedAccuracy | None = None
    latency: QuantizedTimes


class HeldOut(_Part):
    """The held-out samples: what they are, and how many."""

    kind: str
    samples: Annotated[int, Field(ge=1)]


class InputFile(_Part):
    """A file or folder that the run read."""

    path: str
    sha256: str


class Difference(_Part):
    """Difference between two runtimes; see ``Parity``."""

    max_abs_difference: float
    tolerance: float


class Tool(_Part):
    """Versions of the programs that made the run."""

    version: str
    torch: str
    onnx: str
    onnxruntime: str


class Validation(_Part):
    """One validation during training, whose loss may have overflowed."""

    step: NonNegativeInt
    loss: Annotated[float, Field(allow_inf_nan=True)]
    agreement: Share | None = None
    accuracy: Share | None = None


class Manifest(_Part):
    """The keys of ``manifest.json`` that reports need; docs/run-folder.md describes all."""

    schema_version: Literal[3]
    agreement: Share
    confident: Confident
    accuracy: Accuracy | None = None
    evaluation_agreement: Share | None = None
    evaluation_samples: PositiveInt | None
    held_out: HeldOut
    parity: Difference
    answers: Predictions
    class_names: tuple[str, ...] | None
    input: FileInput
    input_range: ValueRange
    inputs: dict[str, InputFile]
    sizes: Sizes
    latency: Times
    quantization: Quantized | None = None
    seconds: dict[str, Amount]
    chosen: dict[Stage, int]
    history: dict[Stage, tuple[Validation, ...]]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    gates: tuple[GateResult, ...]
    missed_gates: tuple[str, ...]
    started: datetime
    duration: Amount
    resumed: bool
    command: str
    tool: Tool
    architecture: str
    teacher_sha256: str
    student_sha256: str
    recipe: Recipe
    seed: int
    device: str
    threads: int
    smoke: bool = False

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.accuracy is not None and (self.evaluation_samples is None or self.evaluation_agreement is None):
            raise ValueError("accuracy without evaluation_samples or evaluation_agreement")
        if self.class_names is not None and len(self.class_names) != self.answers.classes:
            raise ValueError(f"{len(self.class_names)} class names for {self.answers.classes} classes")
        return self


@dataclass(frozen=True)
class RecordedRun:
    """A finished run.

    Attributes:
        folder: of the run.
        manifest: content of ``manifest.json``.
        data: content of ``report.npz``.
        names: of the classes; their numbers where the teacher's file has none.
    """

    folder: Path
    manifest: Manifest
    data: ReportData
    names: list[str]

    @classmethod
    def read(cls, folder: Path) -> RecordedRun:
        """The run in a folder.

        Raises:
            UsageError: the folder has no finished run, or a file is damaged or of another version.
        """
        path = folder / run_folder.MANIFEST
        if not path.is_file():
            raise UsageError(
                f"{folder}: holds no finished run (it has no {path.name}); complete it with zskd-onnx compress --resume"
            )
        try:
            manifest = Manifest.model_validate(read_json(path))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(
                f"{path}: damaged, or of another version ({first_fault(error)}); make the run again with --overwrite"
            ) from error
        classes = manifest.answers.classes
        data = ReportData.read(folder / run_folder.REPORT_DATA, classes)
        return cls(folder, manifest, data, shown_names(manifest.class_names, classes))
