"""A classifier's model with smaller numbers, and the same interface."""

from __future__ import annotations

from graphlib import TopologicalSorter

import onnx
import onnxruntime as ort
from torch import Tensor

from zskd_onnx.errors import ParityError, UnsupportedTeacherError
from zskd_onnx.export.checks import check_interface
from zskd_onnx.export.settings import Form
from zskd_onnx.importer.file.fixed_inputs import fix_inputs, fixed_values
from zskd_onnx.importer.file.subgraph import read_names
from zskd_onnx.quantization.half_precision import to_half_precision
from zskd_onnx.quantization.integers import to_integers
from zskd_onnx.quantization.prepare import prepare
from zskd_onnx.quantization.stored_model import weights_by_type
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.parity import open_onnx_file

STORED: dict[Form, str] = {"int8": "int8", "fp16": "float16"}
"""Form -> element type of its weights."""


def quantise_model(classifier: Classifier, form: Form, unit: Tensor) -> onnx.ModelProto:
    """The model of a classifier's file in another form. Names, types and shapes of inputs and outputs stay.

    Args:
        unit: calibration samples (N, *shape) in the unit space.

    Raises:
        UnsupportedTeacherError: the file is quantised already, has nothing to quantise, its values exceed the range of
            "fp16", or onnxruntime cannot do it.
        ParityError: the quantised model has another interface.
    """
    return convert(prepare(classifier), classifier, form, unit)


def convert(prepared: onnx.ModelProto, classifier: Classifier, form: Form, unit: Tensor) -> onnx.ModelProto:
    """A prepared model in another form; see ``quantise_model``.

    Args:
        prepared: from ``prepare``, perhaps with other weights; it stays as it is.
    """
    path = classifier.source.path
    try:
        if form == "int8":
            model = to_integers(prepared, classifier, unit)
        else:
            model = to_half_precision(prepared, classifier, unit)
    except UnsupportedTeacherError:
        raise
    except Exception as error:  # onnxruntime's tools raise many types
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedTeacherError(f"{path}: cannot be converted to {form} ({reason})") from error
    _sort_nodes(model.graph)
    if STORED[form] not in weights_by_type(model):
        raise UnsupportedTeacherError(
            f"{path}: no weight became {form}; expected a convolution or a matrix product with constant float32 weights"
        )
    before = open_onnx_file(classifier.source, [value.name for value in model.graph.output])
    try:
        check_interface(open_quantised(model, classifier), before, classifier.output.name)
    except ParityError as error:
        raise ParityError(f"{path}: the {form} model failed its check: {error}") from error
    return model


def _sort_nodes(graph: onnx.GraphProto) -> None:
    """Put each node behind those whose values it or its subgraphs read, in place; onnxruntime's tools append nodes."""
    producers = {name: number for number, node in enumerate(graph.node) for name in node.output}
    sorter = TopologicalSorter(
        {
            number: [producers[name] for name in read_names(node) if name in producers]
            for number, node in enumerate(graph.node)
        }
    )
    nodes = [graph.node[number] for number in sorter.static_order()]
    del graph.node[:]
    graph.node.extend(nodes)


def open_quantised(model: onnx.ModelProto, classifier: Classifier) -> ort.InferenceSession:
    """An onnxruntime session on a quantised model, with the classifier's constants for all inputs but one.

    Raises:
        ParityError: onnxruntime cannot load it.
    """
    source, fixed = classifier.source, onnx.ModelProto()
    fixed.CopyFrom(model)
    names = {value.name for value in source.proto.graph.input}
    constants = fixed_values(source.proto, source.fixed)
    for value in [value for value in fixed.graph.input if value.name not in names | constants.keys()]:
        fixed.graph.input.remove(value)  # no output depends on it
    fix_inputs(fixed, constants)
    try:
        return open_session(fixed.SerializeToString())
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ParityError(f"onnxruntime cannot load the quantised model ({reason})") from error
