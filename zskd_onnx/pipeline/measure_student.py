"""The measurements of a verification: both files are loaded, compared and run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnxruntime as ort
import torch
from torch import Tensor

from zskd_onnx.data.arrays import find_arrays
from zskd_onnx.data.npz import NpzSamples, read_samples
from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.errors import ParityError, UsageError
from zskd_onnx.export.checks import check_interface, check_values
from zskd_onnx.importer.file.fixed_inputs import Fixed
from zskd_onnx.importer.file.source import OnnxFile, present_inputs, read_onnx_file
from zskd_onnx.importer.passes.single_precision import ROUNDED_TO
from zskd_onnx.metrics.chance import student_remarks, teacher_remarks
from zskd_onnx.metrics.classification import accuracy, agreement, class_accuracy, divergence
from zskd_onnx.metrics.gates import Gates
from zskd_onnx.metrics.onnx_scores import log_probabilities
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.check_digests import check_student_digest, check_teacher_digest, read_manifest
from zskd_onnx.pipeline.verification import Pair, Verification
from zskd_onnx.system.child_process import Stage
from zskd_onnx.system.latency import compare_latencies
from zskd_onnx.system.onnx_runtime import fixed_batch
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.system.rows import in_memory
from zskd_onnx.teacher.class_labels import find_labels
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.load import load_classifier
from zskd_onnx.teacher.parity import open_onnx_file
from zskd_onnx.teacher.probes.answers import CONFIDENT
from zskd_onnx.teacher.quantisation_step import rounds_to_integers

TRANSFER_SAMPLES = 2048
"""Samples of a transfer set that are compared."""

PARITY_SAMPLES = 10
"""Random samples on which the runtimes are compared."""


def measure_student(
    stage: Stage,
    *,
    student: Path,
    teacher: Path | None,
    fix: Fixed | None,
    eval_data: Path | None,
    gates: Gates,
) -> Verification:
    """Load and compare the files; see ``verify`` for arguments, result and errors.

    Args:
        stage: is called before each step that runs native code.
    """
    student = student / run_folder.STUDENT if student.is_dir() else student
    stage("loading the student")
    classifier = load_classifier(student, fix=present_inputs(student, fix))
    manifest = read_manifest(student.parent / run_folder.MANIFEST)
    digest = check_student_digest(classifier.source, manifest)
    alone = Verification(
        student=student,
        parity=classifier.parity,
        digest=digest,
        class_names=classifier.class_names,
    )
    if teacher is None:
        return alone
    source = read_onnx_file(teacher, fix)
    teacher_digest = check_teacher_digest(source, classifier.source, manifest)
    outputs = [value.name for value in classifier.source.proto.graph.output]
    missing = tuple(value.name for value in source.proto.graph.output if value.name not in outputs)
    stage("loading the teacher")
    own = open_onnx_file(classifier.source, outputs)
    original = _open_teacher(source, outputs)
    check_interface(own, original, classifier.output.name)
    whole = load_classifier(
        teacher,
        layout=classifier.domain.layout,
        input_shape=classifier.domain.file_shape(1)[1:],
        output_name=classifier.output.name,
        fix=fix,
    )
    stage("running the student in onnxruntime")
    unit = torch.rand((PARITY_SAMPLES, *classifier.domain.shape), generator=rng_for(0, "parity"))
    _check_batches(own, classifier, source, whole, unit)
    samples = _samples(classifier, student.parent / run_folder.TRANSFER_SET, eval_data)
    if samples is None and gates.min_agreement:
        raise UsageError(
            "--min-agreement needs samples, and no transfer set lies beside the student; give --eval-data too"
        )
    if eval_data is not None and gates.need_labels:
        find_arrays(eval_data, labels=True)
    scores = _Scores() if samples is None else _score(original, own, classifier, samples)
    stage("measuring the latency of both files")
    first, second = (open_onnx_file(file, outputs, exact_integers=False) for file in (source, classifier.source))
    batch = fixed_batch(own) or 1
    latency = compare_latencies(first, second, classifier.domain.mid_grey(batch), batch)
    return replace(
        alone,
        teacher_digest=teacher_digest,
        interface=f"lacks {', '.join(missing)}; the other outputs fit" if missing else "fits",
        missing_outputs=missing,
        bytes=Pair(source.size, classifier.source.size),
        parameters=Pair(whole.parameters_count, classifier.parameters_count),
        multiply_adds=Pair(whole.cost.multiply_adds, classifier.cost.multiply_adds),
        latency=latency,
        samples=0 if samples is None else len(samples.x),
        agreement=scores.agreement,
        divergence=scores.divergence,
        confident_agreement=scores.confident_agreement,
        accuracy=scores.accuracy,
        class_accuracy=scores.class_accuracy,
        gates=gates.judge(
            agreement=scores.agreement,
            accuracy=None if scores.accuracy is None else scores.accuracy.student,
            teacher_accuracy=None if scores.accuracy is None else scores.accuracy.teacher,
            latency_ratio=latency.ratio,
        ),
        notes=() if samples is None else (*samples.notes, *scores.remarks),
    )


def _check_batches(
    session: ort.InferenceSession, student: Classifier, source: OnnxFile, teacher: Classifier, unit: Tensor
) -> None:
    """Compare values and labels at batch sizes 1, 2 and 7.

    A file that rounds its values was compared when it was loaded, with the tolerance that rounding needs.
    """
    model = student.source.model
    if rounds_to_integers(model) or ROUNDED_TO in model.meta:
        return
    outputs = {value.name for value in session.get_outputs()}
    labels = find_labels(source, teacher.output, student.domain, rng_for(0, "labels"))
    try:
        check_values(session, student, [one for one in labels if one.name in outputs], unit)
    except ParityError as error:
        raise ParityError(f"{student.source.path}: {error}") from error


@dataclass(frozen=True)
class _Scores:
    """The figures of ``Verification`` that need samples."""

    agreement: float | None = None
    divergence: float | None = None
    confident_agreement: float | None = None
    accuracy: Pair[float] | None = None
    class_accuracy: Pair[tuple[float | None, ...]] | None = None
    remarks: tuple[str, ...] = ()


def _samples(classifier: Classifier, transfer_set: Path, eval_data: Path | None) -> NpzSamples | None:
    """The evaluation data, or else the first samples of a transfer set, or None."""
    if eval_data is not None:
        return read_samples(eval_data, classifier.domain, classifier.classes, classifier.class_names)
    if not transfer_set.is_dir():
        return None
    inputs = in_memory(TransferSet.open(transfer_set).load(TRANSFER_SAMPLES).inputs)
    return NpzSamples(classifier.domain.to_array(classifier.domain.to_file(inputs.to(torch.float32))), None, ())


def _score(
    teacher: ort.InferenceSession, student: ort.InferenceSession, classifier: Classifier, samples: NpzSamples
) -> _Scores:
    """Both files on the same samples, run by onnxruntime as they will be served."""
    of_teacher, of_student = (log_probabilities(s, samples.x, classifier.output) for s in (teacher, student))
    labels = None if samples.y is None else torch.from_numpy(samples.y)
    confident = of_teacher.exp().amax(1) >= CONFIDENT
    predicted, predicted_by_student = of_teacher.argmax(1), of_student.argmax(1)
    return _Scores(
        agreement=agreement(of_teacher, of_student),
        divergence=divergence(of_teacher, of_student),
        confident_agreement=agreement(of_teacher[confident], of_student[confident]) if confident.any() else None,
        accuracy=None if labels is None else Pair(accuracy(of_teacher, labels), accuracy(of_student, labels)),
        class_accuracy=None
        if labels is None
        else Pair(class_accuracy(of_teacher, labels), class_accuracy(of_student, labels)),
        remarks=(
            *teacher_remarks(predicted, labels, classifier.classes),
            *student_remarks(predicted, predicted_by_student, classifier.classes),
        ),
    )


def _open_teacher(source: OnnxFile, outputs: list[str]) -> ort.InferenceSession:
    """An onnxruntime session on the file that a student replaces."""
    names = [value.name for value in source.proto.graph.output]
    if not set(outputs) <= set(names):
        raise ParityError(f"the student's outputs are {', '.join(outputs)}, {source.path} has {', '.join(names)}")
    return open_onnx_file(source, outputs)
