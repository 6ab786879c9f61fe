"""Conversion of a student to an ONNX model with the teacher's interface."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from zskd_onnx.errors import ZskdError
from zskd_onnx.system.files import atomic_write
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.output import Output
from zskd_onnx.teacher.teacher import Teacher

LOGGERS = ("torch.onnx", "torch.fx.experimental.symbolic_shapes", "onnxscript")


class DropInStudent(nn.Module):
    """A student with the interface of the teacher's file.

    Its input has the layout, range and type of the teacher's input. Its output has the kind (logits or
    probabilities), shape and type of the teacher's output.
    """

    def __init__(self, student: nn.Module, domain: Domain, output: Output) -> None:
        super().__init__()
        self.student = student
        self.domain = domain
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        return self.output.from_logits(self.student(self.domain.to_unit(x)))


def to_onnx(student: DropInStudent, opset: int) -> onnx.ModelProto:
    """The student as an ONNX model with a free batch size and the teacher's input and output names.

    Args:
        student: the student; it is moved to the CPU and set to inference mode.
        opset: version of the ONNX operator set.

    Raises:
        ZskdError: torch cannot export the student, which happens with custom modules, or not at this opset.
    """
    student.eval().cpu()
    domain = student.domain
    dtype = getattr(torch, domain.dtype)
    example = torch.zeros(domain.file_shape(2)).to(dtype)
    try:
        with _silence():
            program = torch.onnx.export(
                student,
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=[domain.name],
                output_names=[student.output.name],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except (Exception, SystemExit) as error:
        raise ZskdError(f"the student cannot be exported to ONNX: {_reason(error)}") from error
    assert program is not None
    model = program.model_proto
    written = {o.version for o in model.opset_import if o.domain == ""}
    if written != {opset}:
        raise ZskdError(
            f"the student cannot be converted to opset {opset}, torch wrote {max(written)}; "
            "use --set deployment.opset=18"
        )
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    model.graph.ClearField("value_info")
    model.graph.name = "student"
    return model


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress what torch prints and logs during an export; failures are exceptions."""
    loggers = {name: logging.getLogger(name) for name in LOGGERS}
    before = {name: logger.level for name, logger in loggers.items()}
    for logger in loggers.values():
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, logger in loggers.items():
            logger.setLevel(before[name])


def _reason(error: BaseException) -> str:
    """The cause of a failed export, and the line of the student if torch reports it."""
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    places = [line for line in lines if line.startswith('File "')]
    return " ".join([f"{type(cause).__name__}:", *(line[:300] for line in lines[:1]), *places[-1:]])


def describe_teacher(teacher: Teacher, metadata: Mapping[str, str]) -> dict[str, str]:
    """``metadata`` with the teacher's layout, input range and class names, so that the student can be a teacher."""
    domain = teacher.domain
    described = {"zskd.layout": domain.layout}
    if len(set(domain.low)) == 1 and len(set(domain.high)) == 1:
        described["zskd.input_range"] = f"{domain.low[0]!r},{domain.high[0]!r}"
    else:
        described["zskd.low"], described["zskd.high"] = (",".join(map(repr, end)) for end in (domain.low, domain.high))
    if teacher.class_names is not None:
        described["zskd.classes"] = json.dumps(teacher.class_names)
    return {**metadata, **described}


def save(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a model to one file with its weights inside; the file appears only when it is complete."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    with atomic_write(path) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
