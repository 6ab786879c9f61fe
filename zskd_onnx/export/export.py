"""Export of a student in memory, with all checks."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnxruntime as ort
from torch import Tensor, nn

from zskd_onnx.errors import ParityError
from zskd_onnx.export.checks import Parity, check_interface, check_values
from zskd_onnx.export.label_outputs import add_label_outputs
from zskd_onnx.export.onnx import DropInStudent, to_onnx
from zskd_onnx.importer.file.fixed_inputs import fix_inputs, fixed_values
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.parity import open_onnx_file
from zskd_onnx.teacher.teacher import Teacher


@dataclass(frozen=True)
class ExportedStudent:
    """An exported student that passed all checks.

    Attributes:
        model: content of the ONNX file, without metadata.
        student: onnxruntime session of the student.
        teacher: onnxruntime session of the teacher, with the same outputs.
        parity: agreement of onnxruntime and torch on the student.
    """

    model: onnx.ModelProto
    student: ort.InferenceSession
    teacher: ort.InferenceSession
    parity: Parity


def export_student(student: nn.Module, teacher: Teacher, opset: int, unit: Tensor) -> ExportedStudent:
    """The student as an ONNX model with the teacher's interface, checked against torch and the teacher.

    Args:
        opset: version of the ONNX operator set.
        unit: samples (N, *shape) in the unit space, one or more, on which the runtimes are compared.

    Raises:
        ZskdError: torch cannot export the student.
        ParityError: the exported student computes other values than in torch, or has another interface
            than the teacher.
    """
    drop_in = DropInStudent(student, teacher.domain, teacher.output)
    model = to_onnx(drop_in, opset)
    add_label_outputs(model, teacher)
    return check_student(model, student, teacher, unit)


def check_student(model: onnx.ModelProto, student: nn.Module, teacher: Teacher, unit: Tensor) -> ExportedStudent:
    """A student's ONNX model, checked against the student in torch and the teacher's interface.

    Args:
        unit: samples (N, *shape) in the unit space, one or more, on which the runtimes are compared.

    Raises:
        ParityError: the model computes other values than the student, or has another interface than the teacher.
    """
    drop_in = DropInStudent(student, teacher.domain, teacher.output).eval().cpu()
    try:
        session = open_session(_with_fixed_inputs(model, teacher).SerializeToString())
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ParityError(f"onnxruntime cannot load the exported student ({reason})") from error
    original = open_onnx_file(teacher.source, [value.name for value in model.graph.output])
    try:
        check_interface(session, original, teacher.output.name)
        parity = check_values(session, drop_in, teacher.labels, unit)
    except ParityError as error:
        raise ParityError(f"the exported student failed its check: {error}") from error
    return ExportedStudent(model, session, original, parity)


def _with_fixed_inputs(model: onnx.ModelProto, teacher: Teacher) -> onnx.ModelProto:
    """A student's model with the constants that ``--fix`` gave to the teacher, where it has these inputs."""
    inputs = {value.name for value in model.graph.input}
    values = fixed_values(teacher.source.proto, teacher.source.fixed)
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fix_inputs(fixed, {name: value for name, value in values.items() if name in inputs})
    return fixed
