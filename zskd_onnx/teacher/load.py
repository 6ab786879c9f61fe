"""Loading a classifier from an ONNX file: read, clean, find input and output, import, compare with onnxruntime."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import onnx_ir as ir
import torch
from torch import fx

from zskd_onnx.errors import ParityError, UnsupportedTeacherError, UsageError
from zskd_onnx.importer.cost import SAMPLES, measure
from zskd_onnx.importer.file.fixed_inputs import Fixed
from zskd_onnx.importer.file.source import OnnxFile, read_onnx_file
from zskd_onnx.importer.free_batch import free_batch
from zskd_onnx.importer.onnx2torch import import_with_onnx2torch
from zskd_onnx.importer.passes import clean
from zskd_onnx.importer.translate import import_graph
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.class_labels import find_labels, zipped_names
from zskd_onnx.teacher.class_names import class_names
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.graphs import Graphs, channels_last, select_output
from zskd_onnx.teacher.input_gradient import check_input_gradient
from zskd_onnx.teacher.parity import check_parity
from zskd_onnx.teacher.probes.ask_domain import ask_domain, doubt_domain
from zskd_onnx.teacher.probes.ask_layout import ask_layout
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.find_output import find_output, settle_kind, settle_output
from zskd_onnx.teacher.signature.infer_domain import InputOptions, infer_domain
from zskd_onnx.teacher.signature.inventory import Inventory, count_operators, take_inventory
from zskd_onnx.teacher.signature.output import Names, Output
from zskd_onnx.teacher.signature.trace_output import OutputTrace
from zskd_onnx.teacher.teacher import Teacher

IMPORTERS: dict[str, Callable[[ir.Model], fx.GraphModule]] = {
    "native": import_graph,
    "onnx2torch": import_with_onnx2torch,
}


COSTLY = 10**9
"""Multiply-adds of a sample from which on fewer random samples are drawn."""


class TeacherOptions(TypedDict, total=False):
    """The keyword arguments of ``load_teacher``, for functions that pass them on."""

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
    """Load an ONNX classifier as a differentiable torch module, and compare it with onnxruntime.

    Where neither the file nor an option gives the input range, it is inferred from the classifier's
    predictions, see ``ask_domain``.

    Args:
        path: the .onnx file; external weights must lie in its folder.
        input_range: lowest and highest raw value of the input.
        mean, std: the file expects (raw - mean) / std; one number, or one for each channel.
        layout: "NCHW" or "NHWC", and likewise for sequences and volumes.
        input_shape: one sample in the file's order, where the file leaves its size open.
        output_name: the output that holds the classes.
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
    parts, zipped, inventory = _load(
        path,
        input_range=input_range,
        mean=mean,
        std=std,
        layout=layout,
        input_shape=input_shape,
        output_name=output_name,
        fix=fix,
        importer=importer,
        ask=True,
    )
    labels = find_labels(parts["source"], parts["output"], parts["domain"], rng_for(0, "labels"))
    return Teacher(**parts, inventory=inventory, labels=labels, zipped=zipped)


def load_classifier(path: str | Path, *, trainable: bool = False, **options: Unpack[TeacherOptions]) -> Classifier:
    """Load an ONNX classifier that is no teacher, such as a student's file; see ``load_teacher``.

    Args:
        path: the .onnx file.
        trainable: whether its weights are parameters that take a gradient, see ``import_onnx``. The mode of the
            classifier is then that of its BatchNormalization layers; at first it is in inference mode.
    """
    return Classifier(**_load(path, trainable=trainable, **options)[0])


@contextmanager
def _without_collection() -> Iterator[None]:
    """Suspend garbage collection: a graph of thousands of nodes makes millions of objects, all of them in use."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load(
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
    ask: bool = False,
    trainable: bool = False,
) -> tuple[dict[str, Any], Names | None, Inventory]:
    """The arguments of ``Classifier``, the keys of a ZipMap, and the inventory.

    Args:
        ask: whether an input range that is only assumed is inferred from the classifier's predictions.
        trainable: whether the weights become parameters.
    """
    if importer not in IMPORTERS:
        raise UsageError(f"importer '{importer}': expected {' or '.join(IMPORTERS)}")
    if trainable and importer != "native":
        raise UsageError(
            f"importer '{importer}': only the native importer makes weights trainable; leave the option out"
        )
    with _without_collection():
        options = InputOptions(input_range, mean, std, layout, input_shape)
        reading = _read(path, fix, options, output_name, trainable=trainable)
        # A range that may change is compared once it is known.
        undecided = ask and reading.domain.assumed and reading.batch is None
        build = partial(_build, reading, importer, trainable=trainable, compared=not undecided)
        try:
            parts = build(None)
        except (UnsupportedTeacherError, ParityError):
            if reading.batch is None:
                raise
            parts = build(reading.batch)
        parts["class_names"] = class_names(reading.source.proto, parts["output"])
        if ask:
            _ask(parts, reading, undecided=undecided, given=(input_range, mean, std) != (None, None, None))
    return parts, reading.zipped, reading.inventory


@dataclass(frozen=True)
class _Reading:
    """What is known of a file before its graph is imported.

    Attributes:
        model: the cleaned graph.
        outputs: its outputs, those of ``trace``.
        name, scores_name: of the output and of the scores, before fusing nodes renames values.
        batch: the batch size that the file fixes, or None.
        zipped: the keys of a ZipMap.
    """

    source: OnnxFile
    model: ir.Model
    outputs: tuple[ir.Value, ...]
    domain: Domain
    trace: OutputTrace
    name: str
    scores_name: str | None
    batch: int | None
    zipped: Names | None
    inventory: Inventory


def _read(
    path: str | Path, fix: Fixed | None, options: InputOptions, output_name: str | None, *, trainable: bool
) -> _Reading:
    source = read_onnx_file(path, fix)
    model = source.model
    operators = count_operators(model)
    clean(model, options.shape, trainable=trainable)
    domain = infer_domain(model, options)
    trace = find_output(model, output_name)
    name = trace.output.name or ""
    declared = model.graph.inputs[0].shape
    outputs = tuple(dict.fromkeys((trace.values, trace.scores, *trace.features)))
    reading = _Reading(
        source,
        model,
        outputs,
        domain,
        trace,
        name,
        trace.scores.name,
        declared[0] if declared is not None and isinstance(declared[0], int) else None,
        zipped_names(source.proto, name),
        take_inventory(model, operators),
    )
    model.graph.outputs[:] = outputs
    return reading


def _build(reading: _Reading, importer: str, bound: int | None, *, trainable: bool, compared: bool) -> dict[str, Any]:
    """The arguments of ``Classifier`` at any batch size, or bound to the one that the file fixes.

    Args:
        compared: whether the import is compared with onnxruntime.
    """
    model, domain, trace, batch = reading.model, reading.domain, reading.trace, reading.batch
    module = import_graph(model, trainable=True) if trainable else IMPORTERS[importer](model)
    module.eval()
    channels_last(module)
    sample = domain.file_shape(1)[1:]
    if batch is not None and bound is None:
        free_batch(module, sample, batch, domain.torch_dtype)
    cost = measure(module, sample, domain.torch_dtype, batch or 1, bound or SAMPLES)
    graph_of = {value: select_output(module, i) for i, value in enumerate(reading.outputs)}
    shapes = {value: size[1:] for value, size in zip(reading.outputs, cost.outputs, strict=True)}
    width = math.prod(shapes[trace.scores])
    settled = settle_output(trace, width, shapes[trace.values], [shapes[v] for v in trace.features])
    if settled.kind == "logits":
        count = 2 if cost.multiply_adds > COSTLY else 8
        settled = settle_kind(settled, _random_outputs(graph_of[trace.values], domain, bound or count))
    features = tuple(graph_of[v] for v in settled.features)
    output = Output(
        name=reading.name,
        kind=settled.kind,
        shape=cost.outputs[0][1:],
        classes=2 if settled.kind == "sigmoid" else width if settled.mix is None else len(settled.mix),
        dtype=cost.dtype,
        mix=settled.mix,
        notes=settled.notes,
    )
    parts = {
        "graphs": Graphs(graph_of[trace.values], graph_of[trace.scores], features, bound),
        "domain": domain,
        "output": output,
        "head": settled.head,
        "cost": cost,
        "source": reading.source,
        "trainable": trainable,
    }
    return parts | {"parity": _parity(parts, reading) if compared else math.inf}


def _parity(parts: dict[str, Any], reading: _Reading) -> float:
    """The largest relative difference from onnxruntime, see ``check_parity``."""
    return check_parity(
        parts["graphs"],
        reading.source,
        parts["domain"],
        parts["output"],
        parts["cost"].activations,
        reading.scores_name,
        rng_for(0, "parity"),
    )


def _ask(parts: dict[str, Any], reading: _Reading, *, undecided: bool, given: bool) -> None:
    """Infer from the classifier's predictions what is only assumed of its input, in place.

    Args:
        parts: the arguments of ``Classifier``.
        undecided: whether the import is still to be compared with onnxruntime.
        given: whether an option gives the input range.
    """
    check_input_gradient(parts["graphs"], parts["domain"])
    if parts["domain"].layout_source == "default":
        parts["domain"] = ask_layout(Classifier(**parts))
    assumed = parts["domain"]
    if assumed.assumed:
        parts["domain"] = inferred = ask_domain(Classifier(**parts))
        if undecided or (inferred.low, inferred.high) != (assumed.low, assumed.high):
            parts["parity"] = _parity(parts, reading)
    elif given:
        parts["domain"] = doubt_domain(Classifier(**parts))


@torch.no_grad()
def _random_outputs(file: fx.GraphModule, domain: Domain, batch: int) -> torch.Tensor:
    """The values of the file's output for random inputs."""
    x = domain.to_file(torch.rand((batch, *domain.shape), generator=rng_for(0, "probabilities")))
    try:
        values: torch.Tensor = file(x)
    except RuntimeError as error:
        reason = str(error).strip().split("\n", 1)[0][:300]
        raise UnsupportedTeacherError(
            f"the graph does not run at batch size {batch} ({reason}); export it with a free batch size"
        ) from error
    return values
