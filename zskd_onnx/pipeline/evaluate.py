"""Evaluation of a student beside its teacher, on real samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from zskd_onnx.data.npz import read_samples
from zskd_onnx.events import Event, Listener, silent
from zskd_onnx.export.checks import check_interface
from zskd_onnx.importer.file.source import OnnxFile, present_inputs, read_onnx_file
from zskd_onnx.metrics.belief_matching import BeliefMatching, Transitions
from zskd_onnx.metrics.chance import student_remarks, teacher_remarks
from zskd_onnx.metrics.classification import accuracy, agreement, calibration_error, class_accuracy, divergence
from zskd_onnx.pipeline import run_folder
from zskd_onnx.system.devices import choose_device
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.load import TeacherOptions, load_classifier
from zskd_onnx.teacher.parity import open_onnx_file
from zskd_onnx.teacher.signature.domain import Domain

BATCH = 256
MEMORY = 1 << 30
"""Largest size of a batch's activations, bytes, roughly."""


@dataclass(frozen=True)
class Quality:
    """Accuracy and calibration of one classifier; fractions in [0, 1].

    Attributes:
        accuracy: on all samples.
        class_accuracy: on the samples of each class; None for a class without samples.
        calibration_error: expected calibration error over 15 bins of confidence.
    """

    accuracy: float
    class_accuracy: tuple[float | None, ...]
    calibration_error: float


@dataclass(frozen=True)
class Evaluation:
    """A student beside its teacher on real samples.

    Attributes:
        student: the file.
        samples: number of samples.
        agreement: share of samples to which student and teacher give the same class.
        divergence: mean KL(T || S), nats.
        teacher_quality, student_quality: None where the samples have no class numbers.
        transitions: result of belief matching, or None.
        class_names: those of the student's file, or None.
        notes: how the samples were read, and warnings, such as of a teacher near chance.
    """

    student: Path
    samples: int
    agreement: float
    divergence: float
    teacher_quality: Quality | None
    student_quality: Quality | None
    transitions: Transitions | None
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        content: dict[str, Any] = {
            "student": str(self.student),
            "samples": self.samples,
            "agreement": self.agreement,
            "divergence": self.divergence,
            "class_names": self.class_names,
            "notes": list(self.notes),
        }
        if self.teacher_quality is not None and self.student_quality is not None:
            teacher, student = asdict(self.teacher_quality), asdict(self.student_quality)
            content |= {metric: {"teacher": teacher[metric], "student": student[metric]} for metric in teacher}
        if self.transitions is not None:
            content["belief_matching"] = {
                "mean_transition_error": self.transitions.error,
                "samples": self.transitions.samples,
                "curves": {"teacher": self.transitions.teacher, "student": self.transitions.student},
            }
        return content


def evaluate(
    student: str | Path,
    teacher: str | Path,
    eval_data: str | Path,
    *,
    belief_matching: BeliefMatching | None = None,
    device: str = "auto",
    listener: Listener = silent,
    **teacher_options: Unpack[TeacherOptions],
) -> Evaluation:
    """Measure a student beside its teacher.

    Both run in torch; their imports were compared with onnxruntime.

    Args:
        student: the .onnx file, or the output folder of a run.
        teacher: the file that it replaces. It takes the same inputs as the student, whose file says which.
        eval_data: an .npz with samples ``x`` and, if known, class numbers ``y``; see ``compress``.
        belief_matching: settings of belief matching; None leaves it out.
        device: "auto", "cpu" or "cuda".
        listener: is called with every progress ``Event``.
        teacher_options: as ``load_teacher`` takes them; ``fix`` is for the teacher, and for the student where it
            has these inputs; the others are needed only where neither file has the information.

    Raises:
        UsageError: a file or option does not fit.
        UnsupportedTeacherError: a file cannot be read.
        ParityError: the student does not fit in the teacher's place, or an import disagrees with onnxruntime.
    """
    place = choose_device(device)
    listener(Event("note", "teacher", f"loading {student} and {teacher}"))
    path = Path(student)
    path = path / run_folder.STUDENT if path.is_dir() else path
    student_net, teacher_net = _load(path, Path(teacher), teacher_options)
    domain = teacher_net.domain if student_net.domain.assumed else student_net.domain
    samples = read_samples(Path(eval_data), domain, student_net.classes, student_net.class_names)
    inputs = domain.to_unit(torch.from_numpy(samples.x.astype(np.float32))).to(place)
    size = max(1, min(BATCH, MEMORY // (8 * max(net.cost.activations for net in (student_net, teacher_net)))))
    student_view, teacher_view = (_in_unit_space(net.to(place), domain) for net in (student_net, teacher_net))
    student_logits, teacher_logits = (_logits(view, inputs, size) for view in (student_view, teacher_view))
    transitions = None
    if belief_matching is not None:
        transitions = belief_matching.measure(
            student_view,
            teacher_view,
            inputs,
            rng_for(0, "belief matching"),
            batch_size=size,
            listener=listener,
        )
    labels = None if samples.y is None else torch.from_numpy(samples.y)
    teacher_classes, student_classes = teacher_logits.argmax(1), student_logits.argmax(1)
    notes = (
        *samples.notes,
        *teacher_remarks(teacher_classes, labels, student_net.classes),
        *student_remarks(teacher_classes, student_classes, student_net.classes),
    )
    return Evaluation(
        student=path,
        samples=len(inputs),
        agreement=agreement(teacher_logits, student_logits),
        divergence=divergence(teacher_logits, student_logits),
        teacher_quality=None if labels is None else _quality(teacher_logits, labels),
        student_quality=None if labels is None else _quality(student_logits, labels),
        transitions=transitions,
        class_names=student_net.class_names,
        notes=notes,
    )


def _load(student: Path, teacher: Path, options: TeacherOptions) -> tuple[Classifier, Classifier]:
    """Both classifiers; the teacher takes its input as the student's file says."""
    stated: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    fix = stated.pop("fix", None)
    classifier = load_classifier(student, **stated, fix=present_inputs(student, fix))
    name = classifier.output.name
    check_interface(_session(classifier.source), _session(read_onnx_file(teacher, fix)), name)
    of_student = {"layout": classifier.domain.layout, "input_shape": classifier.domain.file_shape(1)[1:]}
    return classifier, load_classifier(teacher, **{**of_student, "output_name": name, **stated, "fix": fix})


def _session(source: OnnxFile) -> ort.InferenceSession:
    return open_onnx_file(source, [value.name for value in source.proto.graph.output])


def _in_unit_space(net: Classifier, domain: Domain) -> Callable[[Tensor], Tensor]:
    """The classifier as a function of the unit space."""
    return lambda unit: net.logits(domain.to_file(unit)).float()


@torch.no_grad()
def _logits(view: Callable[[Tensor], Tensor], inputs: Tensor, size: int) -> Tensor:
    return torch.cat([view(part).cpu() for part in inputs.split(size)])


def _quality(logits: Tensor, labels: Tensor) -> Quality:
    return Quality(
        accuracy=accuracy(logits, labels),
        class_accuracy=class_accuracy(logits, labels),
        calibration_error=calibration_error(logits, labels),
    )
