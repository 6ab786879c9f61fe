"""The student as an ONNX file that takes the teacher's place."""

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
from zskd_onnx.system.files import written_beside
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.output import Output
from zskd_onnx.teacher.teacher import Teacher

LOGGERS = ("torch.onnx", "torch.fx.experimental.symbolic_shapes", "onnxscript")


class Replacement(nn.Module):
    """A student between the teacher's own input and output.

    It takes what the teacher's file takes (layout, range, type) and gives what that file gives
    (logits or probabilities, shape, type).
    """

    def __init__(self, student: nn.Module, domain: Domain, output: Output) -> None:
        super().__init__()
        self.student = student
        self.domain = domain
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        return self.output.from_logits(self.student(self.domain.to_unit(x)))


def export(replacement: Replacement, opset: int) -> onnx.ModelProto:
    """Export with a free batch size and the teacher's input and output names.

    Raises:
        ZskdError: torch cannot export the student (a module of the user's, most likely), or not
            at this opset.
    """
    replacement.eval().cpu()
    domain = replacement.domain
    dtype = getattr(torch, domain.dtype)
    example = torch.zeros(domain.file_shape(2)).to(dtype)
    try:
        with _silence():
            program = torch.onnx.export(
                replacement,
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=[domain.name],
                output_names=[replacement.output.name],
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
            f"the student cannot be converted to opset {opset}, torch wrote {max(written)}; take --set deployment.opset=18"
        )
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    model.graph.ClearField("value_info")
    model.graph.name = "student"
    return model


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what torch prints and logs of an export to itself: what fails is an error."""
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
    """What stood in the way, and in which line of the student, where torch tells it."""
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    places = [line for line in lines if line.startswith('File "')]
    return " ".join([f"{type(cause).__name__}:", *(line[:300] for line in lines[:1]), *places[-1:]])


def describe_teacher(teacher: Teacher, metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata that a student carries, so that it can be a teacher in its turn."""
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
    """Write one file, weights inside; the path appears only when it is whole."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    with written_beside(path) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
