"""Verification of a student's file: is it sound, and does it fit in the teacher's place?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch

from zskd_onnx.data.npz import read_evaluation_data
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.errors import ParityError, QualityError, UsageError
from zskd_onnx.export.checks import check_interface
from zskd_onnx.importer.file.fixed_inputs import Fixed
from zskd_onnx.importer.file.source import read_onnx_file
from zskd_onnx.metrics.onnx_scores import Accuracies, predict, score
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.result import missed_gates
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.load import load_classifier
from zskd_onnx.teacher.parity import open_onnx_file

SAMPLES = 2048
"""Samples of a transfer set on which agreement is measured."""


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
        student: the file.
        parity: largest relative difference between onnxruntime and this package's import of the file, at two
            batch sizes.
        digest: "matches" the manifest beside the file, or "no manifest".
        interface: "fits" the teacher's, or "no teacher given".
        agreement: share of samples to which student and teacher give the same class, on the evaluation data or
            else on the transfer set beside the student; None without either.
        accuracy: on the evaluation data, or None.
        missed_gates: quality gates that the student missed, a sentence each.
    """

    student: Path
    parity: float
    digest: str
    interface: str
    agreement: float | None
    accuracy: Accuracies | None
    missed_gates: tuple[str, ...]

    def check(self) -> None:
        """Raise QualityError if the student missed a quality gate."""
        if self.missed_gates:
            raise QualityError(f"{self.student}: {'; '.join(self.missed_gates)}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        content: dict[str, Any] = {
            "student": str(self.student),
            "parity": {"max_difference": self.parity},
            "digest": self.digest,
            "interface": self.interface,
            "missed_gates": list(self.missed_gates),
        }
        if self.agreement is not None:
            content["agreement"] = self.agreement
        if self.accuracy is not None:
            content["accuracy"] = {"teacher": self.accuracy.teacher, "student": self.accuracy.student}
        return content


def verify(
    student: str | Path,
    *,
    teacher: str | Path | None = None,
    fix: Fixed | None = None,
    eval_data: str | Path | None = None,
    min_agreement: float = 0.0,
    min_accuracy: float = 0.0,
) -> Verification:
    """Verify a student's file.

    Args:
        student: the .onnx file, or the output folder of a run.
        teacher: the file that it replaces.
        fix: constants for the teacher's other inputs, by name.
        eval_data: an .npz with ``x`` and ``y``; needs ``teacher``.
        min_agreement, min_accuracy: quality gates, fractions in [0, 1].

    Returns:
        The measurements; ``check()`` raises QualityError where a gate was missed.

    Raises:
        UsageError: a file is missing, or an option needs another.
        UnsupportedTeacherError: a file cannot be read.
        ParityError: runtimes disagree, the file is not the one in the manifest, or it does not fit in the
            teacher's place.
    """
    path = Path(student)
    path = path / run_folder.STUDENT if path.is_dir() else path
    classifier = load_classifier(path)
    digest = _check_digest(path, classifier.source.sha256)
    if teacher is None and eval_data is not None:
        raise UsageError("--eval-data scores student and teacher; give --teacher too")
    agreement, accuracy = None, None
    if teacher is not None:
        session = open_session(path)
        original = _open_teacher(Path(teacher), fix, [value.name for value in classifier.source.proto.graph.output])
        check_interface(session, original, classifier.output.name)
        if eval_data is not None:
            data = read_evaluation_data(Path(eval_data), classifier.domain, classifier.classes)
            accuracy = score(original, session, classifier.output.name, data)
            agreement = accuracy.agreement
        elif (path.parent / run_folder.TRANSFER_SET).is_dir():
            agreement = _agreement(path.parent / run_folder.TRANSFER_SET, classifier, session, original)
    student_accuracy = None if accuracy is None else accuracy.student
    for name, gate, value in (
        ("agreement", min_agreement, agreement),
        ("accuracy", min_accuracy, student_accuracy),
    ):
        if gate and value is None:
            raise UsageError(f"--min-{name} needs samples to measure on; give --teacher and --eval-data")
    missed = missed_gates(agreement, min_agreement, student_accuracy, min_accuracy)
    interface = "no teacher given" if teacher is None else "fits"
    return Verification(path, classifier.parity, digest, interface, agreement, accuracy, missed)


def _agreement(
    folder: Path, classifier: Classifier, student: ort.InferenceSession, teacher: ort.InferenceSession
) -> float:
    """Agreement on the samples of a transfer set."""
    inputs = TransferSet.open(folder).load().inputs[:SAMPLES]
    x = classifier.domain.to_array(classifier.domain.to_file(inputs.to(torch.float32)))
    name = classifier.output.name
    return float((predict(student, x, name) == predict(teacher, x, name)).mean())


def _open_teacher(path: Path, fix: Fixed | None, outputs: list[str]) -> ort.InferenceSession:
    """An onnxruntime session on the file that a student replaces."""
    source = read_onnx_file(path, fix)
    names = [value.name for value in source.proto.graph.output]
    if not set(outputs) <= set(names):
        raise ParityError(f"the student's outputs are {', '.join(outputs)}, {path} has {', '.join(names)}")
    return open_onnx_file(source, outputs)


def _check_digest(path: Path, sha256: str) -> str:
    manifest = path.parent / run_folder.MANIFEST
    if not manifest.is_file():
        return "no manifest"
    try:
        expected = json.loads(manifest.read_text(encoding="utf-8"))["student_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{manifest}: not a manifest of zskd-onnx ({error})") from error
    if expected != sha256:
        raise ParityError(
            f"{path}: SHA-256 {sha256[:16]}..., the manifest beside it has {str(expected)[:16]}...; the file was changed"
        )
    return "matches"
