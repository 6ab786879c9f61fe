"""Names of the classes, and outputs that hold the label of the predicted class."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.source import OnnxFile
from zskd_onnx.importer.file.subgraph import nodes_behind
from zskd_onnx.system.onnx_runtime import run
from zskd_onnx.teacher.parity import open_onnx_file
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.output import Labels, Names, Output

SAMPLES = 64
"""Number of random inputs on which an output must hold the label of the predicted class."""

UNBOUNDED = ("Loop", "Scan", "If")
"""Operators that an output of labels may not depend on.

The importer reads only what the scores depend on, so it has not limited their cost elsewhere.
"""

LABEL_TYPES: dict[int, str] = {TensorProto.INT64: "int64", TensorProto.INT32: "int32", TensorProto.STRING: "string"}
"""Element types of labels, by their number in ONNX."""


def class_names(model: onnx.ModelProto, classes: int) -> tuple[str, ...] | None:
    """Names of the classes in order, or None if the file has none.

    They come from the metadata key ``zskd.classes`` (a JSON list), from the key ``names`` (a Python
    dictionary, as Ultralytics writes it), or from a list of labels in the graph.

    Args:
        classes: number of classes, K.

    Raises:
        UnsupportedTeacherError: ``zskd.classes`` is no list of K names.
    """
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if "zskd.classes" in metadata:
        try:
            names = json.loads(metadata["zskd.classes"])
        except ValueError:
            names = None
        if not isinstance(names, list) or len(names) != classes:
            raise UnsupportedTeacherError(f"file metadata zskd.classes: expected a JSON list of {classes} names")
        return tuple(map(str, names))
    if "names" in metadata:
        try:
            by_number = ast.literal_eval(metadata["names"])
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            by_number = None
        if isinstance(by_number, dict) and sorted(by_number) == list(range(classes)):
            return tuple(str(by_number[i]) for i in range(classes))
    for labels in _label_lists(model, classes):
        if labels != tuple(range(classes)):
            return tuple(map(str, labels))
    return None


def zipped_names(model: onnx.ModelProto, output: str) -> Names | None:
    """Keys of an output that is a ZipMap, or None for any other output.

    Args:
        output: name of the output.

    Raises:
        UnsupportedTeacherError: the keys are not sorted, so the order of the classes is ambiguous.
    """
    for node in model.graph.node:
        if node.op_type == "ZipMap" and output in node.output:
            names = _labels_of(node)
            if list(names) != sorted(names):
                raise UnsupportedTeacherError(
                    f"output '{output}': the keys of its ZipMap are not sorted; export the model again with the converter's option zipmap=False"
                )
            return names
    return None


def find_labels(source: OnnxFile, output: Output, domain: Domain, rng: torch.Generator) -> tuple[Labels, ...]:
    """Find the other outputs that hold the label of the predicted class.

    The file is run on random inputs. An output holds labels if they match the predicted classes on
    all of these, by one of the lists of labels in the file, or by the numbers from 0.

    Args:
        source: the teacher's file.
        output: its output with the classes.
        domain: its input domain.
        rng: draws the inputs.

    Raises:
        UnsupportedTeacherError: onnxruntime cannot load the file.
    """
    model = source.proto
    candidates = {
        value.name: LABEL_TYPES[value.type.tensor_type.elem_type]
        for value in model.graph.output
        if value.name != output.name
        and value.type.tensor_type.elem_type in LABEL_TYPES
        and not any(node.op_type in UNBOUNDED for node in nodes_behind(model, [value.name]))
    }
    if not candidates:
        return ()
    output_names = [output.name, *candidates]
    session = open_onnx_file(source, output_names, optimise=False)
    unit = torch.rand((SAMPLES, *domain.shape), generator=rng)
    values, *label_values = run(session, domain.to_array(domain.to_file(unit)), output_names)
    predicted = output.winners(values)
    outputs = []
    for (name, dtype), labels in zip(candidates.items(), label_values, strict=True):
        if labels.shape[0] != SAMPLES or labels.size != SAMPLES:
            continue
        for names in _label_lists(model, output.classes):
            if (np.array(names, dtype=object)[predicted] == labels.reshape(-1)).all():
                outputs.append(Labels(name, dtype, labels.shape[1:], names))
                break
    return tuple(outputs)


def _labels_of(node: onnx.NodeProto) -> Names:
    """The list of labels that a node has as an attribute; empty if it has none."""
    for attribute in node.attribute:
        if attribute.name in ("classlabels_ints", "classlabels_int64s") and attribute.ints:
            return tuple(attribute.ints)
        if attribute.name == "classlabels_strings" and attribute.strings:
            return _decode(attribute.strings)
    return ()


def _label_lists(model: onnx.ModelProto, classes: int) -> Iterator[Names]:
    """The lists of K labels in a file: attributes of operators, constants, and finally 0, 1, ..., K - 1."""
    constants = list(model.graph.initializer)
    for node in model.graph.node:
        if len(names := _labels_of(node)) == classes:
            yield names
        if node.op_type == "Constant":
            constants += [attribute.t for attribute in node.attribute if attribute.name == "value"]
    for tensor in constants:
        if tensor.data_type in LABEL_TYPES and list(tensor.dims) == [classes] and not tensor.external_data:
            if tensor.data_type == TensorProto.STRING:
                yield _decode(tensor.string_data)
            else:
                yield tuple(numpy_helper.to_array(tensor).tolist())
    yield tuple(range(classes))


def _decode(labels: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(label.decode("utf-8", "replace") for label in labels)
