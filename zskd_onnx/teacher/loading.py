"""The road inside ``teacher/``: read, clean, locate, import, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import onnx_ir as ir
from torch import fx

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.randomness import generator_for
from zskd_onnx.teacher.batch import free_batch
from zskd_onnx.teacher.head import find_tail
from zskd_onnx.teacher.importer import import_graph
from zskd_onnx.teacher.inputs import InputOptions, resolve_domain
from zskd_onnx.teacher.onnx2torch import import_with_onnx2torch
from zskd_onnx.teacher.parity import check_parity
from zskd_onnx.teacher.passes import clean
from zskd_onnx.teacher.shapes import measure
from zskd_onnx.teacher.source import read_source
from zskd_onnx.teacher.teacher import Output, Teacher, channels_last, select_output

IMPORTERS: dict[str, Callable[[ir.Model], fx.GraphModule]] = {
    "native": import_graph,
    "onnx2torch": import_with_onnx2torch,
}


class TeacherOptions(TypedDict, total=False):
    """The keyword arguments of ``load_teacher``, for functions that hand them on."""

    input_range: Sequence[float] | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    layout: str | None
    input_shape: Sequence[int] | None
    output_name: str | None
    importer: str


def load_teacher(
    path: str | Path,
    *,
    input_range: Sequence[float] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layout: str | None = None,
    input_shape: Sequence[int] | None = None,
    output_name: str | None = None,
    importer: str = "native",
) -> Teacher:
    """Read an ONNX classifier and prove the import against onnxruntime.

    Args:
        path: the .onnx file; external weights must lie in its folder.
        input_range: lowest and highest raw value of the input.
        mean, std: the file expects (raw - mean) / std; one number, or one for each channel.
        layout: "NCHW" or "NHWC".
        input_shape: one sample in the file's order, where the file leaves its size open.
        output_name: which output holds the classes.
        importer: "native", or "onnx2torch" (an extra) for converters registered there.

    Returns:
        The teacher, on the CPU, in inference mode, with no gradient on its weights.

    Raises:
        UsageError: no such file, or an option that does not fit it.
        UnsupportedTeacherError: not a classifier that can be read; the message says why.
        ParityError: the import and onnxruntime disagree.
        MissingExtraError: the importer is not installed.
    """
    if importer not in IMPORTERS:
        raise UsageError(f"importer '{importer}': expected {' or '.join(IMPORTERS)}")
    source = read_source(path)
    model = source.model
    clean(model)
    options = InputOptions(input_range, mean, std, layout, input_shape)
    domain = resolve_domain(model, options)
    tail = find_tail(model, output_name)

    outputs = list(dict.fromkeys((tail.output, tail.logits, *tail.features)))
    model.graph.outputs[:] = outputs
    module = IMPORTERS[importer](model)
    channels_last(module)

    sample = domain.file_shape(1)[1:]
    fixed = None if model.graph.inputs[0].shape is None else model.graph.inputs[0].shape[0]
    if isinstance(fixed, int):
        free_batch(module, sample, fixed, domain.torch_dtype)
    cost = measure(module, sample, domain.torch_dtype)
    shape = cost.outputs[0][1:]
    if not shape or shape[0] < 2 or any(n != 1 for n in shape[1:]):
        raise UnsupportedTeacherError(
            f"{source.path}: output '{tail.output.name}' has shape {['N', *shape]}, expected one value for each of two or "
            "more classes; this is not a classifier (a regression model?)"
        )
    teacher = Teacher(
        select_output(module, 0),
        select_output(module, outputs.index(tail.logits)),
        [select_output(module, outputs.index(value)) for value in tail.features],
        domain=domain,
        output=Output(tail.output.name or "", tail.kind, shape, cost.dtype),
        head=tail.head,
        cost=cost,
        source=source,
    )
    teacher.parity = check_parity(teacher, tail.logits.name, generator_for(0, "parity"))
    return teacher
