"""How good a student is, and how much like its teacher, on real samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from zskd_onnx.data.npz import read_samples
from zskd_onnx.events import Listener, silent
from zskd_onnx.export.checks import check_interface
from zskd_onnx.importer.file.source import Source, read_source
from zskd_onnx.metrics.belief_matching import BeliefMatching, Transitions
from zskd_onnx.metrics.classification import accuracy, agreement, calibration_error, class_accuracy, divergence
from zskd_onnx.pipeline import run_folder
from zskd_onnx.system.devices import choose_device
from zskd_onnx.system.randomness import generator_for
from zskd_onnx.teacher.load import TeacherOptions, load_teacher
from zskd_onnx.teacher.parity import open_source
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.teacher import Teacher

BATCH = 256
MEMORY = 1 << 30
"""Bytes that the activations of a batch may take, roughly."""


@dataclass(frozen=True)
class Quality:
    """How good one classifier is; fractions in [0, 1].

    Attributes:
        accuracy: on all samples.
        class_accuracy: on those of each class; None where there is none.
        calibration_error: expected, over 15 bins of confidence.
    """

    accuracy: float
    class_accuracy: tuple[float | None, ...]
    calibration_error: float


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        student: the file.
        samples: how many there were.
        agreement: share on which student and teacher name the same class.
        divergence: mean KL(T || S), nats.
        teacher_quality, student_quality: None where the samples come without class numbers.
        transitions: what belief matching saw, or None.
        class_names: as the student's file has them, or None.
    """

    student: Path
    samples: int
    agreement: float
    divergence: float
    teacher_quality: Quality | None
    student_quality: Quality | None
    transitions: Transitions | None
    class_names: tuple[str, ...] | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        found: dict[str, Any] = {
            "student": str(self.student),
            "samples": self.samples,
            "agreement": self.agreement,
            "divergence": self.divergence,
            "class_names": self.class_names,
        }
        if self.teacher_quality is not None and self.student_quality is not None:
            teacher, student = asdict(self.teacher_quality), asdict(self.student_quality)
            found |= {measure: {"teacher": teacher[measure], "student": student[measure]} for measure in teacher}
        if self.transitions is not None:
            found["belief_matching"] = {
                "mean_transition_error": self.transitions.error,
                "samples": self.transitions.samples,
                "curves": {"teacher": self.transitions.teacher, "student": self.transitions.student},
            }
        return found


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

    Both run in torch, as their import was proved against onnxruntime.

    Args:
        student: the .onnx file, or the output folder of a run.
        teacher: the file that it replaces. It takes its inputs as the student does, whose file
            says how.
        eval_data: an .npz with samples ``x`` and, if known, class numbers ``y``; see ``compress``.
        belief_matching: how to walk from class to class; None leaves this measure out.
        device: "auto", "cpu" or "cuda".
        listener: hears of progress.
        teacher_options: as ``load_teacher`` takes them; ``fix`` is the teacher's alone, and the
            others are needed only where neither file says.

    Raises:
        UsageError: a file or option does not fit.
        UnsupportedTeacherError: a file cannot be read.
        ParityError: the student does not fit in the teacher's place, or an import disagrees with
            onnxruntime.
    """
    place = choose_device(device)
    path = Path(student)
    path = path / run_folder.STUDENT if path.is_dir() else path
    student_net, teacher_net = _load(path, Path(teacher), teacher_options)
    domain = teacher_net.domain if student_net.domain.assumed else student_net.domain
    x, y = read_samples(Path(eval_data), domain, student_net.classes)
    inputs = domain.to_unit(torch.from_numpy(x.astype(np.float32))).to(place)
    size = max(1, min(BATCH, MEMORY // (8 * max(net.cost.activations for net in (student_net, teacher_net)))))
    ask_student, ask_teacher = (_asking(net.to(place), domain) for net in (student_net, teacher_net))
    ours, theirs = (_logits(ask, inputs, size) for ask in (ask_student, ask_teacher))
    transitions = None
    if belief_matching is not None:
        transitions = belief_matching.measure(
            ask_student,
            ask_teacher,
            inputs,
            generator_for(0, "belief matching"),
            batch_size=size,
            listener=listener,
        )
    return Evaluation(
        student=path,
        samples=len(x),
        agreement=agreement(theirs, ours),
        divergence=divergence(theirs, ours),
        teacher_quality=None if y is None else _quality(theirs, torch.from_numpy(y)),
        student_quality=None if y is None else _quality(ours, torch.from_numpy(y)),
        transitions=transitions,
        class_names=student_net.class_names,
    )


def _load(student: Path, teacher: Path, options: Mapping[str, Any]) -> tuple[Teacher, Teacher]:
    """Both as differentiable modules, the teacher told what the student's file says of the input."""
    given = {key: value for key, value in options.items() if value is not None}
    fix = given.pop("fix", None)
    ours = load_teacher(student, **given)
    check_interface(_session(ours.source), _session(read_source(teacher, fix)), ours.output.name)
    told = {"layout": ours.domain.layout, "input_shape": ours.domain.file_shape(1)[1:], "output_name": ours.output.name}
    return ours, load_teacher(teacher, **{**told, **given, "fix": fix})


def _session(source: Source) -> ort.InferenceSession:
    return open_source(source, [value.name for value in source.proto.graph.output])


def _asking(net: Teacher, domain: Domain) -> Callable[[Tensor], Tensor]:
    """The net as a function of the unit space."""
    return lambda unit: net.logits(domain.to_file(unit)).float()


@torch.no_grad()
def _logits(ask: Callable[[Tensor], Tensor], inputs: Tensor, size: int) -> Tensor:
    return torch.cat([ask(part).cpu() for part in inputs.split(size)])


def _quality(logits: Tensor, labels: Tensor) -> Quality:
    return Quality(
        accuracy=accuracy(logits, labels),
        class_accuracy=class_accuracy(logits, labels),
        calibration_error=calibration_error(logits, labels),
    )
