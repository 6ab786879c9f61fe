"""A quantised file: made, measured beside the float file, and written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from zskd_onnx.data.npz import EvaluationData
from zskd_onnx.export.onnx import describe_teacher, save
from zskd_onnx.export.settings import Form
from zskd_onnx.importer.file.source import ORIGIN
from zskd_onnx.importer.write_back import read_original
from zskd_onnx.metrics.classification import agreement
from zskd_onnx.metrics.onnx_scores import accuracies, log_probabilities
from zskd_onnx.pipeline.quantization_result import Quantization
from zskd_onnx.pipeline.quantization_samples import QuantizationSamples
from zskd_onnx.pipeline.recover_agreement import Candidate, Recovery, recover_agreement
from zskd_onnx.quantization.calibration import feeds, fixed_batch
from zskd_onnx.quantization.quantise_model import open_quantised, quantise_model
from zskd_onnx.quantization.stored_model import read_stored_model
from zskd_onnx.system.latency import compare_latencies
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.parity import open_onnx_file
from zskd_onnx.teacher.probes.answers import CONFIDENT
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.teacher.teacher import Teacher
from zskd_onnx.version import __version__

FEW, LOW = 100, 0.95
"""Number of confident samples below which agreement says little, and agreement below which the file is doubtful."""


def quantise_file(
    classifier: Teacher,
    output: Path,
    form: Form,
    samples: QuantizationSamples,
    *,
    evaluation: EvaluationData | None = None,
    min_agreement: float = 0.0,
    recovery: Recovery | None = None,
) -> Quantization:
    """Write a classifier's file in another form, and compare both files in onnxruntime.

    Args:
        output: the new file; it appears when it is complete.
        evaluation: real samples to score on, or None.
        min_agreement: quality gate: smallest agreement on the samples of which the float file is confident.
        recovery: when and how an int8 file is made again from changed weights; None leaves them as they are.

    Raises:
        UnsupportedTeacherError, ParityError: see ``quantise_model``.
    """
    source, name = classifier.source, classifier.output.name
    model, changed = quantise_model(classifier, form, samples.calibration), None
    recovered: tuple[str, ...] = ()
    reference = open_onnx_file(source, [name])
    confident = TeacherView(classifier).batched_logits(samples.held_out).softmax(1).amax(1) >= CONFIDENT
    judge = partial(_agreement, reference, classifier, samples.held_out[confident])
    agreed = judge(model) if confident.any() else None
    if form == "int8" and recovery is not None and agreed is not None and agreed < recovery.gate:
        first = Candidate(model, agreed)
        best, recovered = recover_agreement(first, classifier, samples.calibration, judge, recovery)
        model, agreed, changed = best.model, best.agreement, best.changed
    accuracy = None
    if evaluation is not None:
        sessions = reference, open_quantised(model, classifier)
        before, after = (log_probabilities(session, evaluation.x, classifier.output).argmax(1) for session in sessions)
        accuracy = accuracies(before, after, torch.from_numpy(evaluation.y), classifier.classes)
    original = read_original(source.model.meta[ORIGIN])
    size = fixed_batch(classifier, original) or 1
    one_batch = feeds(classifier, original, samples.held_out[:1].expand(size, *classifier.domain.shape))
    save(model, output, _metadata(classifier, form))
    first, second = (
        open_session(file, on_cpu=True, exact_integers=False) for file in (original.SerializeToString(), output)
    )
    latency = compare_latencies(first, second, one_batch, size)
    return Quantization(
        form=form,
        float_file=read_stored_model(source.path),
        quantized_file=read_stored_model(output),
        samples=samples.kind,
        judged=len(samples.held_out),
        confident=int(confident.sum()),
        agreement=agreed,
        accuracy=accuracy,
        latency=latency,
        missed_gates=_missed_gates(agreed, min_agreement),
        changed_weights=changed,
        notes=(
            *samples.notes,
            *recovered,
            *(evaluation.notes if evaluation else ()),
            *_doubts(int(confident.sum()), agreed),
        ),
    )


@torch.no_grad()
def _agreement(reference: Any, classifier: Teacher, unit: Tensor, model: onnx.ModelProto) -> float:
    """Share of samples to which a quantised model gives the same class as the session ``reference``."""
    domain = classifier.domain
    x = domain.to_array(domain.to_file(unit.float()))
    sessions = reference, open_quantised(model, classifier)
    return agreement(*(log_probabilities(session, x, classifier.output) for session in sessions))


def _metadata(classifier: Teacher, form: Form) -> Mapping[str, str]:
    """The metadata of the float file, what the quantised one is, and how it takes its input."""
    source = classifier.source
    own = {entry.key: entry.value for entry in source.proto.metadata_props}
    described = {"zskd.quantized": form, "zskd.float_sha256": source.sha256, "zskd.version": __version__}
    return {**describe_teacher(classifier, described), **own}


def _missed_gates(agreement: float | None, gate: float) -> tuple[str, ...]:
    if not gate or (agreement is not None and agreement >= gate):
        return ()
    value = "unknown" if agreement is None else f"{agreement:.4f}"
    return (
        f"agreement with the float file {value}, expected {gate} or more; use the float file or fp16, or calibrate on "
        "samples that are nearer to real ones",
    )


def _doubts(confident: int, agreement: float | None) -> tuple[str, ...]:
    doubts = []
    if confident < FEW:
        doubts.append(
            f"the float file is confident of {confident} of the held-out samples only, so their agreement says little; give "
            "real samples, or check the input range"
        )
    if agreement is not None and agreement < LOW:
        doubts.append("the quantised file is far from the float file; try fp16, or calibrate on real samples")
    return tuple(doubts)
