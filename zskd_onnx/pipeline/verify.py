"""Verification of a student's file: is it sound, and does it fit in the teacher's place?"""

from __future__ import annotations

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
from zskd_onnx.importer.file.source import OnnxFile, present_inputs, read_onnx_file
from zskd_onnx.metrics.chance import student_remarks
from zskd_onnx.metrics.onnx_scores import Accuracies, predict, score
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.check_digests import check_student_digest, check_teacher_digest, read_manifest
from zskd_onnx.pipeline.result import missed_gates
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
        teacher_digest: "matches" what the manifest or the student's metadata has, "not recorded", or "no teacher
            given".
        interface: "fits" the teacher's, "lacks" some of the teacher's outputs, or "no teacher given".
        missing_outputs: names of the teacher's outputs that the student lacks.
        agreement: share of samples to which student and teacher give the same class, on the evaluation data or
            else on the transfer set beside the student; None without either.
        accuracy: on the evaluation data, or None.
        missed_gates: quality gates that the student missed, a sentence each.
        notes: how the evaluation data were read, and warnings where guessing would do as well.
    """

    student: Path
    parity: float
    digest: str
    teacher_digest: str
    interface: str
    missing_outputs: tuple[str, ...]
    agreement: float | None
    accuracy: Accuracies | None
    missed_gates: tuple[str, ...]
    notes: tuple[str, ...]

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
            "teacher_digest": self.teacher_digest,
            "interface": self.interface,
            "missing_outputs": list(self.missing_outputs),
            "missed_gates": list(self.missed_gates),
            "notes": list(self.notes),
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
        fix: constants for the teacher's other inputs, by name, and for the student's where it has them.
        eval_data: an .npz with ``x`` and ``y``; needs ``teacher``.
        min_agreement, min_accuracy: quality gates, fractions in [0, 1].

    Returns:
        The measurements; ``check()`` raises QualityError where a gate was missed.

    Raises:
        UsageError: a file is missing, or an option needs another.
        UnsupportedTeacherError: a file cannot be read.
        ParityError: runtimes disagree, the file is not the one in the manifest, it was made from another teacher, or it
            does not fit in the teacher's place.
    """
    path = Path(student)
    path = path / run_folder.STUDENT if path.is_dir() else path
    classifier = load_classifier(path, fix=present_inputs(path, fix))
    manifest = read_manifest(path.parent / run_folder.MANIFEST)
    digest = check_student_digest(classifier.source, manifest)
    if teacher is None and eval_data is not None:
        raise UsageError("--eval-data scores student and teacher; give --teacher too")
    agreement, accuracy = None, None
    teacher_digest = interface = "no teacher given"
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if teacher is not None:
        source = read_onnx_file(teacher, fix)
        teacher_digest = check_teacher_digest(source, classifier.source, manifest)
        outputs = [value.name for value in classifier.source.proto.graph.output]
        session = open_onnx_file(classifier.source, outputs)
        original = _open_teacher(source, outputs)
        check_interface(session, original, classifier.output.name)
        missing = tuple(value.name for value in source.proto.graph.output if value.name not in outputs)
        interface = f"lacks {', '.join(missing)}; the other outputs fit" if missing else "fits"
        if eval_data is not None:
            data = read_evaluation_data(Path(eval_data), classifier.domain, classifier.classes, classifier.class_names)
            accuracy = score(original, session, classifier.output.name, data, classifier.classes)
            agreement, notes = accuracy.agreement, (*data.notes, *accuracy.remarks)
        elif (path.parent / run_folder.TRANSFER_SET).is_dir():
            agreement, notes = _agreement(path.parent / run_folder.TRANSFER_SET, classifier, session, original)
    student_accuracy = None if accuracy is None else accuracy.student
    for name, gate, value in (
        ("agreement", min_agreement, agreement),
        ("accuracy", min_accuracy, student_accuracy),
    ):
        if gate and value is None:
            raise UsageError(f"--min-{name} needs samples to measure on; give --teacher and --eval-data")
    return Verification(
        student=path,
        parity=classifier.parity,
        digest=digest,
        teacher_digest=teacher_digest,
        interface=interface,
        missing_outputs=missing,
        agreement=agreement,
        accuracy=accuracy,
        missed_gates=missed_gates(agreement, min_agreement, student_accuracy, min_accuracy),
        notes=notes,
    )


def _agreement(
    folder: Path, classifier: Classifier, student: ort.InferenceSession, teacher: ort.InferenceSession
) -> tuple[float, tuple[str, ...]]:
    """Agreement on the samples of a transfer set, and warnings where guessing would do as well."""
    inputs = TransferSet.open(folder).load().inputs[:SAMPLES]
    x = classifier.domain.to_array(classifier.domain.to_file(inputs.to(torch.float32)))
    name = classifier.output.name
    student_classes, teacher_classes = (torch.from_numpy(predict(session, x, name)) for session in (student, teacher))
    remarks = student_remarks(teacher_classes, student_classes, classifier.classes)
    return float((student_classes == teacher_classes).double().mean()), remarks


def _open_teacher(source: OnnxFile, outputs: list[str]) -> ort.InferenceSession:
    """An onnxruntime session on the file that a student replaces."""
    names = [value.name for value in source.proto.graph.output]
    if not set(outputs) <= set(names):
        raise ParityError(f"the student's outputs are {', '.join(outputs)}, {source.path} has {', '.join(names)}")
    return open_onnx_file(source, outputs)
