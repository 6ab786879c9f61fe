"""Verification of a student's file: is it sound, and does it fit in the teacher's place?

This module needs no torch. The measurements run in a process of their own, whose crash is a result like any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zskd_onnx.errors import ParityError, UsageError
from zskd_onnx.metrics.gates import Gates, option_of
from zskd_onnx.system.child_process import ProcessCrash, run_in_child

if TYPE_CHECKING:
    from zskd_onnx.importer.file.fixed_inputs import Fixed
    from zskd_onnx.pipeline.verification import Verification


def verify(
    student: str | Path,
    *,
    teacher: str | Path | None = None,
    fix: Fixed | None = None,
    eval_data: str | Path | None = None,
    min_agreement: float = 0.0,
    min_accuracy: float = 0.0,
    max_accuracy_drop: float | None = None,
    max_latency_ratio: float | None = None,
    isolate: bool = True,
) -> Verification:
    """Verify a student's file.

    Args:
        student: the .onnx file, or the output folder of a run.
        teacher: the file that it replaces.
        fix: constants for the teacher's other inputs, by name, and for the student's where it has them.
        eval_data: an .npz with ``x`` and, if known, ``y``; needs ``teacher``.
        min_agreement, min_accuracy: quality gates, fractions in [0, 1]; 0 for none.
        max_accuracy_drop: quality gate: largest difference of the two accuracies, a fraction; None for none.
        max_latency_ratio: quality gate: largest ratio of the student's median latency to the teacher's; None for none.
        isolate: whether the files are loaded in a Python process of their own. Without it, a file that crashes
            onnxruntime ends the program.

    Returns:
        The measurements; ``check()`` raises QualityError where a gate was missed.

    Raises:
        UsageError: a file is missing, or an option needs another.
        UnsupportedTeacherError: a file cannot be read.
        ParityError: runtimes disagree, the file is not the one in the manifest, it was made from another teacher, it
            does not fit in the teacher's place, or it crashes the runtime.
    """
    path = Path(student)
    gates = Gates(min_agreement, min_accuracy, max_accuracy_drop, max_latency_ratio)
    _check_options(gates, teacher=teacher, eval_data=eval_data)
    arguments: dict[str, Any] = {
        "student": path,
        "teacher": None if teacher is None else Path(teacher),
        "fix": fix,
        "eval_data": None if eval_data is None else Path(eval_data),
        "gates": gates,
    }
    if not isolate:
        from zskd_onnx.pipeline.measure_student import measure_student

        return measure_student(lambda stage: None, **arguments)
    try:
        result: Verification = run_in_child("zskd_onnx.pipeline.measure_student", "measure_student", **arguments)
    except ProcessCrash as crash:
        raise ParityError(
            f"{path}: the process crashed ({crash.cause}) while {crash.stage}; do not deploy this file"
        ) from crash
    return result


def _check_options(gates: Gates, *, teacher: str | Path | None, eval_data: str | Path | None) -> None:
    """Raise UsageError where an option needs another."""
    if teacher is None and eval_data is not None:
        raise UsageError("--eval-data scores student and teacher; give --teacher too")
    if teacher is None and gates.asked:
        raise UsageError(
            f"{option_of(next(iter(gates.asked)))} compares the student with its teacher; give --teacher too"
        )
    if eval_data is None and gates.need_labels:
        raise UsageError(f"{option_of(gates.need_labels[0])} needs real samples with labels; give --eval-data too")
