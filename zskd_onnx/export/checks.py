"""Checks of an exported student: it computes the same as in torch, and has the teacher's interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch

from zskd_onnx.errors import ParityError
from zskd_onnx.export.onnx import DropInStudent
from zskd_onnx.system.onnx_runtime import run
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.signature.output import Labels

BATCHES = (1, 2, 7)
TOLERANCE = 1e-4
"""Largest difference that is allowed, relative to the largest magnitude of the output if that is above 1."""

HALF_TOLERANCE = 2e-3
"""``TOLERANCE`` for outputs in half precision: two units in the last place."""


@dataclass(frozen=True)
class Parity:
    """Agreement of two runtimes on one model.

    Attributes:
        max_abs_difference: largest absolute difference over all values of all batches.
        tolerance: largest difference that was allowed.
    """

    max_abs_difference: float
    tolerance: float


def check_interface(session: ort.InferenceSession, teacher: ort.InferenceSession, output_name: str) -> None:
    """Compare names, types and shapes of the student's inputs and outputs with the teacher's.

    Args:
        session: the student.
        output_name: the teacher's output that holds the class scores.

    Raises:
        ParityError: the student cannot replace the teacher; the message says where they differ.
    """
    student_inputs, teacher_inputs = session.get_inputs(), teacher.get_inputs()
    if [i.name for i in student_inputs] != [i.name for i in teacher_inputs]:
        raise ParityError(
            f"the student has the inputs {[i.name for i in student_inputs]}, "
            f"the teacher has {[i.name for i in teacher_inputs]}"
        )
    pairs = [("input", own, expected) for own, expected in zip(student_inputs, teacher_inputs, strict=True)]
    student_outputs = {o.name: o for o in session.get_outputs()}
    teacher_outputs = {o.name: o for o in teacher.get_outputs()}
    if output_name not in student_outputs or not student_outputs.keys() <= teacher_outputs.keys():
        raise ParityError(
            f"the student has the outputs {list(student_outputs)}, the teacher has {list(teacher_outputs)}; "
            f"expected no other ones, and '{output_name}' with the class scores"
        )
    in_order = [name for name in teacher_outputs if name in student_outputs]
    if list(student_outputs) != in_order:
        raise ParityError(
            f"the student has the outputs {list(student_outputs)} in this order, the teacher has {in_order}; "
            "a program that reads outputs by their position gets the wrong one"
        )
    pairs += [("output", value, teacher_outputs[name]) for name, value in student_outputs.items()]
    for what, own, expected in pairs:
        if own.type != expected.type:
            raise ParityError(f"the student's {what} '{own.name}' has type {own.type}, the teacher's {expected.type}")
        batch = own.shape[0] if own.shape else None
        if isinstance(batch, int) and batch not in expected.shape[:1]:
            raise ParityError(
                f"the student's {what} '{own.name}' has a fixed batch size of {batch}, expected a free one"
            )
        same = [m == n for m, n in zip(own.shape[1:], expected.shape[1:], strict=False) if isinstance(n, int)]
        # onnxruntime lists no sizes where it does not know the rank, as for a label whose shape the file leaves out.
        if expected.shape and (len(own.shape) != len(expected.shape) or not all(same)):
            raise ParityError(
                f"the student's {what} '{own.name}' has shape {own.shape}, the teacher's {expected.shape}"
            )


def check_values(
    session: ort.InferenceSession,
    student: DropInStudent | Classifier,
    labels: Sequence[Labels],
    unit: torch.Tensor,
) -> Parity:
    """Compare a student's file in onnxruntime with the student in torch, at batch sizes 1, 2 and 7.

    Args:
        session: the file.
        student: computes the file's output from its input.
        labels: outputs that must hold the label of the largest score.
        unit: one or more samples in the unit space.

    Raises:
        ParityError: a difference is above the tolerance; the message has the batch size and the difference.
    """
    domain = student.domain
    unit = unit[torch.arange(sum(BATCHES)) % len(unit)]
    relative = HALF_TOLERANCE if student.output.dtype == torch.float16 else TOLERANCE
    largest_difference, scale = 0.0, 1.0
    first = 0
    for size in BATCHES:
        part = unit[first : first + size].float()
        first += size
        x = domain.to_array(domain.to_file(part))
        try:
            exported, *exported_labels = run(session, x, [student.output.name, *(label.name for label in labels)])
            with torch.no_grad():
                expected = student(torch.from_numpy(x)).numpy()
        except Exception as error:  # a custom module may raise anything
            reason = " ".join(str(error).split())[:300]
            raise ParityError(f"it fails at batch size {size} ({type(error).__name__}: {reason})") from error
        if expected.shape != exported.shape or not np.isfinite(exported).all():
            raise ParityError(
                f"at batch size {size} its output has shape {exported.shape}, "
                f"expected finite values of shape {expected.shape}"
            )
        scale = max(scale, float(np.abs(expected).max()))
        difference = float(np.abs(expected - exported).max())
        largest_difference = max(largest_difference, difference)
        if difference > relative * scale:
            raise ParityError(
                f"at batch size {size} its output '{student.output.name}' differs from torch by {difference:.3g} "
                f"in onnxruntime; the tolerance is {relative * scale:.3g}"
            )
        winners = student.output.winners(exported)
        for label, names in zip(labels, exported_labels, strict=True):
            if (np.array(label.names, dtype=object)[winners] != names.reshape(-1)).any():
                raise ParityError(f"its output '{label.name}' is not the label of the largest score")
    return Parity(largest_difference, relative * scale)
