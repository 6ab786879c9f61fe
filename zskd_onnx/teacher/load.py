"""The road inside ``teacher/``: read, clean, locate, import, compare."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import onnx_ir as ir
import torch
from torch import fx

from zskd_onnx.errors import ParityError, UnsupportedTeacherError, UsageError
from zskd_onnx.importer.cost import SAMPLES, measure
from zskd_onnx.importer.file.fixed_inputs import Fixed
from zskd_onnx.importer.file.source import read_source
from zskd_onnx.importer.free_batch import free_batch
from zskd_onnx.importer.onnx2torch import import_with_onnx2torch
from zskd_onnx.importer.passes import clean
from zskd_onnx.importer.translate import import_graph
from zskd_onnx.system.randomness import generator_for
from zskd_onnx.teacher.class_labels import class_names, find_labels, zipped_names
from zskd_onnx.teacher.parity import check_parity
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.find_output import find_tail, settle
from zskd_onnx.teacher.signature.infer_domain import InputOptions, resolve_domain
from zskd_onnx.teacher.signature.inventory import count_operators, find_layers
from zskd_onnx.teacher.signature.output import Output
from zskd_onnx.teacher.teacher import Teacher, channels_last, select_output

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
    fix: Fixed | None
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
    fix: Fixed | None = None,
    importer: str = "native",
) -> Teacher:
    """Read an ONNX classifier and prove the import against onnxruntime.

    Args:
        path: the .onnx file; external weights must lie in its folder.
        input_range: lowest and highest raw value of the input.
        mean, std: the file expects (raw - mean) / std; one number, or one for each channel.
        layout: "NCHW" or "NHWC", and likewise for sequences and volumes.
        input_shape: one sample in the file's order, where the file leaves its size open.
        output_name: which output holds the classes.
        fix: constants for all inputs but one, by name.
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
    options = InputOptions(input_range, mean, std, layout, input_shape)
    with _without_collection():
        return _load(path, options, output_name, fix, importer)


@contextmanager
def _without_collection() -> Iterator[None]:
    """A graph of thousands of nodes makes millions of objects, and all of them live: to go through
    them again and again for garbage takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load(
    path: str | Path, options: InputOptions, output_name: str | None, fix: Fixed | None, importer: str
) -> Teacher:
    """See ``load_teacher``."""
    source = read_source(path, fix)
    model = source.model
    operators = count_operators(model)
    clean(model)
    domain = resolve_domain(model, options)
    tail = find_tail(model, output_name)
    # Taken down now: fusing nodes renames the values that it replaces.
    name, scores_name = tail.output.name or "", tail.scores.name
    zipped = zipped_names(source.proto, name)
    layers = find_layers(model, tail.features, operators)
    declared = model.graph.inputs[0].shape
    batch = declared[0] if declared is not None and isinstance(declared[0], int) else None
    outputs = list(dict.fromkeys((tail.values, tail.scores, *tail.features)))
    model.graph.outputs[:] = outputs

    def build(bound: int | None) -> Teacher:
        """The teacher, run at the one batch size that the file fixes, or at any."""
        module = IMPORTERS[importer](model)
        channels_last(module)
        sample = domain.file_shape(1)[1:]
        if batch is not None and bound is None:
            free_batch(module, sample, batch, domain.torch_dtype)
        cost = measure(module, sample, domain.torch_dtype, batch or 1, bound or SAMPLES)
        parts = {value: select_output(module, i) for i, value in enumerate(outputs)}
        file, scores, *features = (parts[value] for value in (tail.values, tail.scores, *tail.features))
        width = math.prod(cost.outputs[outputs.index(tail.scores)][1:])
        settled = settle(tail, width, cost.outputs[0][1:])
        if settled.kind == "logits" and _gives_probabilities(file, domain, bound or 8):
            settled = replace(settled, kind="probabilities")
        output = Output(
            name=name,
            kind=settled.kind,
            shape=cost.outputs[0][1:],
            classes=width if settled.mix is None else len(settled.mix),
            dtype=cost.dtype,
            mix=settled.mix,
        )
        teacher = Teacher(
            file,
            scores,
            features,
            domain=domain,
            output=output,
            head=settled.head,
            cost=cost,
            layers=layers,
            source=source,
            batch=bound,
        )
        teacher.parity = check_parity(teacher, scores_name, generator_for(0, "parity"))
        return teacher

    try:
        teacher = build(None)
    except (UnsupportedTeacherError, ParityError):
        if batch is None:
            raise
        teacher = build(batch)
    teacher.zipped = zipped
    teacher.class_names = class_names(source.proto, teacher.classes)
    teacher.labels = find_labels(teacher, generator_for(0, "labels"))
    return teacher


@torch.no_grad()
def _gives_probabilities(file: fx.GraphModule, domain: Domain, batch: int) -> bool:
    """Whether what looks like logits sums to one on random inputs: probabilities of unknown making."""
    unit = torch.rand((batch, *domain.shape), generator=generator_for(0, "probabilities"))
    values = file(domain.to_file(unit)).float().flatten(1)
    return bool((values >= 0).all()) and torch.allclose(values.sum(1), torch.ones(batch), atol=1e-3)
