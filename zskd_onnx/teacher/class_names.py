"""Names of the classes, from the file's metadata and from the lists of labels in its graph."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.subgraph import nodes_behind
from zskd_onnx.teacher.signature.output import Names, Output

LABEL_TYPES: dict[int, str] = {TensorProto.INT64: "int64", TensorProto.INT32: "int32", TensorProto.STRING: "string"}
"""Element types of labels, by their number in ONNX."""

LISTS_OF_LABELS = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")
"""Attributes of classifiers and of ZipMap that hold the labels in order."""

MOST_CLASSES = 1 << 20
"""Longest constant that is read as a list of labels."""

LOOK_UPS = ("ArrayFeatureExtractor", "Gather")
"""Operators that take the label with the number of a class from a constant."""


def class_names(model: onnx.ModelProto, output: Output) -> tuple[str, ...] | None:
    """Return the names of the classes in order, or None if the file has none.

    They come from the metadata: ``zskd.classes`` (a JSON list), ``names`` (a Python dictionary or list, as
    Ultralytics writes it) or ``character`` (one name a line, as Paddle writes it). Otherwise they come from the
    labels in the graph, see ``label_lists``.

    Args:
        output: the output with the classes.

    Raises:
        UnsupportedTeacherError: ``zskd.classes`` is no list of K names.
    """
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if "zskd.classes" in metadata:
        try:
            names = json.loads(metadata["zskd.classes"])
        except ValueError:
            names = None
        if not isinstance(names, list) or len(names) != output.classes:
            raise UnsupportedTeacherError(f"file metadata zskd.classes: expected a JSON list of {output.classes} names")
        return tuple(map(str, names))
    for names in (_literal(metadata.get("names", "")), metadata.get("character", "").removesuffix("\n").split("\n")):
        if len(names) == output.classes:
            return tuple(str(name).removesuffix("\r") for name in names)
    numbers = tuple(range(output.classes))
    return next((tuple(map(str, labels)) for labels in label_lists(model, output) if labels != numbers), None)


def label_lists(model: onnx.ModelProto, output: Output) -> Iterator[Names]:
    """Yield the lists of K labels in a file, and finally 0, 1, ..., K - 1.

    A list is an attribute of a classifier or ZipMap, a constant in which an output of labels is looked up, or what a
    LabelEncoder before such an output makes of one. Other constants of K integers are no labels but, for example,
    shapes.

    Args:
        output: the output with the classes.
    """
    numbers = tuple(range(output.classes))
    names = [labels_of(node) for node in model.graph.node]
    outputs = [
        value.name
        for value in model.graph.output
        if value.name != output.name and value.type.tensor_type.elem_type in LABEL_TYPES
    ]
    network = {name for node in nodes_behind(model, [output.name]) for name in node.output}
    nodes = [node for node in nodes_behind(model, outputs) if not network.intersection(node.output)]
    constants = {tensor.name: _labels_in(tensor) for tensor in model.graph.initializer}
    constants |= {
        name: _constant(node) for node in model.graph.node if node.op_type == "Constant" for name in node.output
    }
    for node in nodes:
        if node.op_type in LOOK_UPS and len(node.input) == 2 and node.input[1] not in constants:
            names.append(constants.get(node.input[0], ()))
    lists = [labels for labels in names if len(labels) == output.classes]
    for node in nodes:
        table = _table(node)
        for labels in (numbers, *lists):
            if table and all(label in table for label in labels):
                yield tuple(table[label] for label in labels)
    yield from lists
    yield numbers


def labels_of(node: onnx.NodeProto) -> Names:
    """Return the labels that a classifier or ZipMap has as an attribute; empty for any other node."""
    return next((_listed(a) for a in node.attribute if a.name in LISTS_OF_LABELS and _listed(a)), ())


def _table(node: onnx.NodeProto) -> Mapping[Any, Any]:
    """Return the keys and values of a LabelEncoder; empty for any other node."""
    if node.op_type != "LabelEncoder":
        return {}
    lists: dict[str, Names] = {}
    for attribute in node.attribute:
        kind, _, suffix = attribute.name.partition("_")
        if suffix in ("int64s", "strings", "tensor"):
            lists[kind] = _listed(attribute)
    if "classes" in lists:  # version 1 of the operator
        return dict(enumerate(lists["classes"]))
    return dict(zip(lists.get("keys", ()), lists.get("values", ()), strict=False))


def _constant(node: onnx.NodeProto) -> Names:
    """Return the labels in a Constant; empty if it holds anything else."""
    return next((_listed(a) for a in node.attribute if a.name in ("value", "value_ints", "value_strings")), ())


def _listed(attribute: onnx.AttributeProto) -> Names:
    """Return the labels in an attribute; empty if it holds anything else."""
    return tuple(attribute.ints) or _decoded(attribute.strings) or _labels_in(attribute.t)


def _labels_in(tensor: TensorProto) -> Names:
    """Return the labels in a constant (K,) or (1, K); empty if it holds anything else."""
    dims = list(tensor.dims)
    is_list = len(dims) in (1, 2) and dims[:-1] in ([], [1]) and math.prod(dims) <= MOST_CLASSES
    if tensor.data_type not in LABEL_TYPES or tensor.external_data or not is_list:
        return ()
    if tensor.data_type == TensorProto.STRING:
        return _decoded(tensor.string_data)
    return tuple(numpy_helper.to_array(tensor).flatten().tolist())


def _decoded(labels: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(label.decode("utf-8", "replace") for label in labels)


def _literal(text: str) -> Sequence[Any]:
    """Return the names in a Python list, or in a dictionary by the numbers from 0; empty for any other text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()
    if isinstance(value, dict) and set(value) == set(range(len(value))):
        return [value[i] for i in range(len(value))]
    return value if isinstance(value, list) else ()
