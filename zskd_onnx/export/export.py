"""A student as a file in memory, proved before anybody gets it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnxruntime as ort
from torch import Tensor, nn

from zskd_onnx.errors import ParityError
from zskd_onnx.export.checks import Parity, check_interface, check_values
from zskd_onnx.export.label_outputs import add_labels
from zskd_onnx.export.onnx import Replacement, export
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.parity import open_source
from zskd_onnx.teacher.teacher import Teacher


@dataclass(frozen=True)
class Delivery:
    """What stands in for a teacher.

    Attributes:
        model: the file's content, without metadata.
        student, teacher: both by onnxruntime, with the same outputs.
        parity: how far onnxruntime is from torch.
    """

    model: onnx.ModelProto
    student: ort.InferenceSession
    teacher: ort.InferenceSession
    parity: Parity


def deliver(student: nn.Module, teacher: Teacher, opset: int, unit: Tensor) -> Delivery:
    """Export a student in the teacher's place, and prove that it does what it did and fits there.

    Args:
        unit: samples (N, *shape) in the unit space, one or more, to compare the runtimes on.

    Raises:
        ZskdError: torch cannot export it.
        ParityError: the exported student differs from the one in torch, or does not fit.
    """
    replacement = Replacement(student, teacher.domain, teacher.output)
    model = export(replacement, opset)
    add_labels(model, teacher)
    try:
        session = open_session(model.SerializeToString())
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ParityError(f"onnxruntime cannot load the exported student ({reason})") from error
    original = open_source(teacher.source, [value.name for value in model.graph.output])
    try:
        check_interface(session, original, teacher.output.name)
        parity = check_values(session, replacement, teacher.labels, unit)
    except ParityError as error:
        raise ParityError(f"the exported student was not kept: {error}") from error
    return Delivery(model, session, original, parity)
