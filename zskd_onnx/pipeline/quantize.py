"""Quantisation of a classifier's file without data."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from zskd_onnx.data.npz import read_evaluation_data
from zskd_onnx.errors import UsageError
from zskd_onnx.events import Event, Listener, silent
from zskd_onnx.export.settings import Form
from zskd_onnx.pipeline.quantization_result import Quantization
from zskd_onnx.pipeline.quantization_samples import make_samples, real_samples, stored_samples
from zskd_onnx.pipeline.quantized_file import LOW, quantise_file
from zskd_onnx.pipeline.recover_agreement import Recovery
from zskd_onnx.quantization.quantise_model import STORED
from zskd_onnx.system.devices import choose_device
from zskd_onnx.system.files import expect_parent
from zskd_onnx.teacher.load import TeacherOptions, load_teacher


def quantize(
    model: str | Path,
    output: str | Path,
    *,
    to: Form = "int8",
    transfer_set: str | Path | None = None,
    data: str | Path | None = None,
    eval_data: str | Path | None = None,
    min_agreement: float = 0.0,
    seed: int = 0,
    device: str = "auto",
    listener: Listener = silent,
    **teacher_options: Unpack[TeacherOptions],
) -> Quantization:
    """Write a classifier's file with 8-bit integers or half-precision numbers, and compare both files.

    Inputs and outputs keep their names, types and shapes. Ranges of activations come from samples that the program
    makes: procedural images, or synthesised samples for natural images and vectors. Other such samples judge the file.

    Args:
        model: the ONNX file, in single precision.
        output: the new file; an existing one is replaced.
        to: "int8" or "fp16".
        transfer_set: folder or URL of the transfer set of an earlier run, whose samples calibrate and judge.
        data: an .npz with real samples ``x`` for the same.
        eval_data: an .npz with real samples ``x`` and class numbers ``y`` to score both files on.
        min_agreement: quality gate: smallest agreement on held-out samples of which the float file is confident. An int8
            file below it, or below 0.95 without a gate, is made again from equalised and fine-tuned weights.
        seed: of every random draw. On one machine the same seed gives the same file.
        device: "auto", "cpu" or "cuda", for synthesis and fine-tuning.
        listener: is called with every progress ``Event``.
        teacher_options: as ``load_teacher`` takes them.

    Returns:
        The figures. ``check()`` raises QualityError where the quality gate was missed.

    Raises:
        UsageError: a file, folder or option does not fit.
        UnsupportedTeacherError: the file is no classifier, is quantised already, or has nothing to quantise.
        ParityError: the import disagrees with onnxruntime, or the new file has another interface.
    """
    path, target = Path(model), Path(output)
    if to not in STORED:
        raise UsageError(f"to '{to}': expected {' or '.join(STORED)}")
    if transfer_set is not None and data is not None:
        raise UsageError("--transfer-set and --data exclude each other; give one of them")
    expect_parent(target, "--output")
    inputs = [Path(file) for file in (path, data, eval_data) if file is not None]
    if any(target.resolve() == file.resolve() for file in inputs):
        raise UsageError(f"--output {target}: this would replace an input; choose another file")
    place = choose_device(device)
    listener(Event("note", "teacher", f"loading {path}"))
    teacher = load_teacher(path, **teacher_options)
    for warning in teacher.domain.warnings:
        listener(Event("note", "teacher", warning))
    evaluation = None
    if eval_data is not None:
        evaluation = read_evaluation_data(Path(eval_data), teacher.domain, teacher.classes, teacher.class_names)
    if transfer_set is not None:
        samples = stored_samples(transfer_set, teacher, listener)
    elif data is not None:
        samples = real_samples(Path(data), teacher, seed)
    else:
        samples = make_samples(teacher, seed, place, listener)
    result = quantise_file(
        teacher,
        target,
        to,
        samples,
        evaluation=evaluation,
        min_agreement=min_agreement,
        recovery=Recovery(min_agreement or LOW, seed, place, listener),
    )
    listener(Event("done", "deployment", str(target)))
    return result
