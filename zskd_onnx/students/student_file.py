"""A student's ONNX file, read and compared with the interface of the teacher."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort

from zskd_onnx.errors import ParityError, UnsupportedTeacherError, UsageError
from zskd_onnx.export.checks import check_interface
from zskd_onnx.importer.file.source import ORIGIN, read_onnx_file
from zskd_onnx.importer.write_back import read_original
from zskd_onnx.students.onnx_student import load_in_place
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.class_labels import find_labels, zipped_names
from zskd_onnx.teacher.signature.output import Names
from zskd_onnx.teacher.teacher import Teacher

PROBABILITIES = ("softmax", "probabilities")
"""Kinds of outputs that are probabilities of all classes, known as a softmax or only as values that sum to one."""


def read_student(path: Path, teacher: Teacher) -> onnx.ModelProto:
    """The content of a student's file with all weights inside; it fits in the teacher's place and can be trained.

    Raises:
        UsageError: there is no such file, it cannot be read or trained, or it does not fit.
    """
    try:
        model = read_original(read_onnx_file(path).model.meta[ORIGIN])
        _check_interface(path, model, teacher)
        _check_classes(path, teacher)
    except (UnsupportedTeacherError, ParityError) as error:
        raise UsageError(f"student {path}: {str(error).removeprefix(f'{path}: ')}") from error
    return model


def _check_interface(path: Path, model: onnx.ModelProto, teacher: Teacher) -> None:
    """Raise UsageError unless names, types and shapes of inputs and outputs are the teacher's."""
    names = [value.name for value in model.graph.output]
    of_teacher = [value.name for value in teacher.source.proto.graph.output]
    needed = {teacher.output.name, *(label.name for label in teacher.labels)}
    if not needed <= set(names) or names != [name for name in of_teacher if name in names]:
        expected = ", ".join(repr(name) for name in of_teacher if name in needed)
        raise UsageError(
            f"student {path}: has the outputs {', '.join(map(repr, names))}; expected {expected}, in this order and with no "
            "other outputs than the teacher's; export it with these outputs"
        )
    try:
        check_interface(_open(path), _open(teacher.source.path), teacher.output.name)
    except ParityError as error:
        raise UsageError(f"student {path}: {error}; export it with the teacher's inputs and outputs") from error


def _check_classes(path: Path, teacher: Teacher) -> None:
    """Raise UsageError unless the file is a classifier of the teacher's classes whose weights can be trained."""
    student = load_in_place(path, teacher)
    output, expected = student.output, teacher.output
    if student.classes != teacher.classes:
        raise UsageError(
            f"student {path}: has {student.classes} classes, the teacher {teacher.classes}; give a file with the teacher's "
            "classes"
        )
    if output.kind != expected.kind and not {output.kind, expected.kind} <= set(PROBABILITIES):
        raise UsageError(
            f"student {path}: its output '{output.name}' holds {_in_words(output.kind)}, the teacher's holds "
            f"{_in_words(expected.kind)}; export it with the same last layer as the teacher"
        )
    labels = find_labels(student.source, output, student.domain, rng_for(0, "labels"))
    keys = zipped_names(student.source.proto, output.name)
    for name, own, names in (
        (output.name, keys, teacher.zipped),
        *((label.name, own.names, label.names) for own, label in zip(labels, teacher.labels, strict=False)),
    ):
        if own != names:
            raise UsageError(
                f"student {path}: output '{name}' has the labels {_list(own)}, the teacher's has {_list(names)}; export it "
                "with the teacher's labels in the teacher's order"
            )


def _in_words(kind: str) -> str:
    return "logits" if kind == "logits" else f"probabilities ({kind})"


def _list(names: Names | None) -> str:
    return "none" if names is None else ", ".join(map(str, names))


def _open(path: Path) -> ort.InferenceSession:
    try:
        return open_session(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedTeacherError(f"{path}: onnxruntime cannot load it ({reason})") from error
