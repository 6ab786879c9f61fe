"""Checking a student's file on its own: is it sound, and does it fit where the teacher was?"""

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
from zskd_onnx.importer.file.source import read_source
from zskd_onnx.metrics.onnx_scores import Accuracies, predict, score
from zskd_onnx.pipeline import run_folder
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.parity import open_source


@dataclass(frozen=True)
class Verification:
    """What was checked.

    Attributes:
        student: the file.
        parity: largest relative difference between onnxruntime and this package's own import
            of the file, at two batch sizes.
        digest: "matches" the manifest beside it, or "no manifest".
        interface: "fits" the teacher's, or "no teacher given".
        agreement: share of samples on which student and teacher name the same class, on the
            evaluation data or else on the transfer set beside the student; None without either.
        accuracy: on the evaluation data, or None.
        missed_gates: what the student falls short of, a sentence each.
    """

    student: Path
    parity: float
    digest: str
    interface: str
    agreement: float | None
    accuracy: Accuracies | None
    missed_gates: tuple[str, ...]

    def check_gates(self) -> None:
        """Raise QualityError if the student missed a gate."""
        if self.missed_gates:
            raise QualityError(f"{self.student}: {'; '.join(self.missed_gates)}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        found: dict[str, Any] = {
            "student": str(self.student),
            "parity": {"max_difference": self.parity},
            "digest": self.digest,
            "interface": self.interface,
            "missed_gates": list(self.missed_gates),
        }
        if self.agreement is not None:
            found["agreement"] = self.agreement
        if self.accuracy is not None:
            found["accuracy"] = {"teacher": self.accuracy.teacher, "student": self.accuracy.student}
        return found


def verify(
    student: str | Path,
    *,
    teacher: str | Path | None = None,
    fix: Fixed | None = None,
    eval_data: str | Path | None = None,
    min_agreement: float = 0.0,
    min_accuracy: float = 0.0,
) -> Verification:
    """Check a student's file.

    Args:
        student: the .onnx file, or the output folder of a run.
        teacher: the file that it replaces.
        fix: constants for the teacher's other inputs, by name.
        eval_data: an .npz with ``x`` and ``y``; needs ``teacher``.
        min_agreement, min_accuracy: gates, fractions in [0, 1].

    Returns:
        What was found; ``check_gates()`` of it raises QualityError where a gate was missed.

    Raises:
        UsageError: a file is missing, or an option needs another.
        UnsupportedTeacherError: a file cannot be read.
        ParityError: a runtime disagrees, the file is not the one in the manifest, or it does not
            fit in the teacher's place.
    """
    path = Path(student)
    path = path / run_folder.STUDENT if path.is_dir() else path
    loaded = load_teacher(path)
    digest = _check_digest(path, loaded.source.sha256)
    session = open_session(path)
    interface, found, agreed = "no teacher given", None, None
    if teacher is None and eval_data is not None:
        raise UsageError("--eval-data scores student and teacher; give --teacher too")
    if teacher is not None:
        outputs = [value.name for value in loaded.source.proto.graph.output]
        original = _open_teacher(Path(teacher), fix, outputs)
        check_interface(session, original, loaded.output.name)
        interface = "fits"
        if eval_data is not None:
            found = score(
                original,
                session,
                loaded.output.name,
                read_evaluation_data(Path(eval_data), loaded.domain, loaded.classes),
            )
            agreed = found.agreement
        elif (path.parent / run_folder.TRANSFER_SET).is_dir():
            inputs = TransferSet.open(path.parent / run_folder.TRANSFER_SET).load().inputs[:2048]
            x = loaded.domain.to_array(loaded.domain.to_file(inputs.to(torch.float32)))
            agreed = float((predict(session, x, loaded.output.name) == predict(original, x, loaded.output.name)).mean())
    missed = _missed_gates(agreed, min_agreement, found, min_accuracy)
    return Verification(path, loaded.parity, digest, interface, agreed, found, missed)


def _open_teacher(path: Path, fix: Fixed | None, outputs: list[str]) -> ort.InferenceSession:
    """The file that a student replaces, run by onnxruntime alone."""
    source = read_source(path, fix)
    given = [value.name for value in source.proto.graph.output]
    if not set(outputs) <= set(given):
        raise ParityError(f"the student's outputs are {', '.join(outputs)}, {path} has {', '.join(given)}")
    return open_source(source, outputs)


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
            f"{path}: SHA-256 {sha256[:16]}..., the manifest beside it says {str(expected)[:16]}...; the file was changed"
        )
    return "matches"


def _missed_gates(
    agreed: float | None, min_agreement: float, found: Accuracies | None, min_accuracy: float
) -> tuple[str, ...]:
    missed = []
    for name, gate, value in (
        ("agreement", min_agreement, agreed),
        ("accuracy", min_accuracy, None if found is None else found.student),
    ):
        if gate and value is None:
            raise UsageError(f"--min-{name} needs something to measure it on; give --teacher and --eval-data")
        if value is not None and value < gate:
            missed.append(f"{name} {value:.4f}, expected {gate} or more")
    return tuple(missed)
