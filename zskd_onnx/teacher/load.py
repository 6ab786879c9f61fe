"""Loading a classifier from an ONNX file: read, clean, find input and output, import, compare with onnxruntime."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict, Unpack

import onnx_ir as ir
import torch
from torch import fx

from zskd_onnx.errors import ParityError, UnsupportedTeacherError, UsageError
from zskd_onnx.importer.cost import SAMPLES, Cost, measure
from zskd_onnx.importer.file.fixed_inputs import Fixed
from zskd_onnx.importer.file.source import read_onnx_file
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
        source = read_onnx_file(path, fix)
        model = source.model
        operators = count_operators(model)
        clean(model, input_shape, trainable=trainable)
        domain = infer_domain(model, InputOptions(input_range, mean, std, layout, input_shape))
        trace = find_output(model, output_name)
        # Fusing nodes renames the values that it replaces, so names are read before.
        name, scores_name = trace.output.name or "", trace.scores.name
        zipped = zipped_names(source.proto, name)
        inventory = take_inventory(model, operators)
        declared = model.graph.inputs[0].shape
        batch = declared[0] if declared is not None and isinstance(declared[0], int) else None
        undecided = ask and domain.assumed and batch is None  # a range that may change is compared once it is known
        outputs = list(dict.fromkeys((trace.values, trace.scores, *trace.features)))
        model.graph.outputs[:] = outputs

        def build(bound: int | None) -> dict[str, Any]:
            """The classifier at any batch size, or bound to the one that the file fixes."""
            module = import_graph(model, trainable=True) if trainable else IMPORTERS[importer](model)
            module.eval()
            channels_last(module)
            sample = domain.file_shape(1)[1:]
            if batch is not None and bound is None:
                free_batch(module, sample, batch, domain.torch_dtype)
            cost = measure(module, sample, domain.torch_dtype, batch or 1, bound or SAMPLES)
            parts = {value: select_output(module, i) for i, value in enumerate(outputs)}
            shapes = {value: size[1:] for value, size in zip(outputs, cost.outputs, strict=True)}
            width = math.prod(shapes[trace.scores])
            settled = settle_output(trace, width, shapes[trace.values], [shapes[v] for v in trace.features])
            if settled.kind == "logits":
                count = 2 if cost.multiply_adds > COSTLY else 8
                settled = settle_kind(settled, _random_outputs(parts[trace.values], domain, bound or count))
            features = tuple(parts[v] for v in settled.features)
            graphs = Graphs(parts[trace.values], parts[trace.scores], features, bound)
            output = Output(
                name=name,
                kind=settled.kind,
                shape=cost.outputs[0][1:],
                classes=2 if settled.kind == "sigmoid" else width if settled.mix is None else len(settled.mix),
                dtype=cost.dtype,
                mix=settled.mix,
                notes=settled.notes,
            )
            return {
                "graphs": graphs,
                "domain": domain,
                "output": output,
                "head": settled.head,
                "cost": cost,
                "source": source,
                "parity": math.inf if undecided else parity_in(domain, graphs, output, cost),
                "trainable": trainable,
            }

        def parity_in(domain: Domain, graphs: Graphs, output: Output, cost: Cost) -> float:
            rng = rng_for(0, "parity")
            return check_parity(graphs, source, domain, output, cost.activations, scores_name, rng)

        try:
            parts = build(None)
        except (UnsupportedTeacherError, ParityError):
            if batch is None:
                raise
            parts = build(batch)
        parts["class_names"] = class_names(source.proto, parts["output"])
        if ask:
            check_input_gradient(parts["graphs"], domain)
        if ask and domain.layout_source == "default":
            parts["domain"] = domain = ask_layout(Classifier(**parts))
        if ask and domain.assumed:
            parts["domain"] = ask_domain(Classifier(**parts))
            if undecided or (parts["domain"].low, parts["domain"].high) != (domain.low, domain.high):
                parts["parity"] = parity_in(parts["domain"], parts["graphs"], parts["output"], parts["cost"])
        elif ask and (input_range, mean, std) != (None, None, None):
            parts["domain"] = doubt_domain(Classifier(**parts))
    return parts, zipped, inventory


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
