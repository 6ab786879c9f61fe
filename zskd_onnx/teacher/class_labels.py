"""What the classes are called, and the outputs that name the winner."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.subgraph import needed_nodes
from zskd_onnx.system.onnx_runtime import run
from zskd_onnx.teacher.parity import open_source
from zskd_onnx.teacher.signature.output import Labels, Names
from zskd_onnx.teacher.teacher import Teacher

SAMPLES = 64
"""Random inputs on which an output must name the winner."""

UNBOUNDED = ("Loop", "Scan", "If")
"""What no branch for labels may hold: the importer has not read it, so nothing bounds it."""

TYPES: dict[int, str] = {TensorProto.INT64: "int64", TensorProto.INT32: "int32", TensorProto.STRING: "string"}


def class_names(model: onnx.ModelProto, classes: int) -> tuple[str, ...] | None:
    """Names of the classes: from the metadata ``zskd.classes`` (a JSON list) or ``names`` (a
    dictionary, as Ultralytics writes it), or from a label list in the graph; None without any.

    Raises:
        UnsupportedTeacherError: ``zskd.classes`` is not a list of as many names.
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
            found = ast.literal_eval(metadata["names"])
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            found = None
        if isinstance(found, dict) and sorted(found) == list(range(classes)):
            return tuple(str(found[i]) for i in range(classes))
    for candidate in _label_lists(model, classes):
        if candidate != tuple(range(classes)):
            return tuple(map(str, candidate))
    return None


def zipped_names(model: onnx.ModelProto, output: str) -> Names | None:
    """The keys of an output that is a ZipMap's, None for a tensor.

    Raises:
        UnsupportedTeacherError: the keys are not in order, so that no reader knows which class is which.
    """
    for node in model.graph.node:
        if node.op_type == "ZipMap" and output in node.output:
            names = _listed(node)
            if list(names) != sorted(names):
                raise UnsupportedTeacherError(
                    f"output '{output}': the keys of its ZipMap are not sorted; export with zipmap off"
                )
            return names
    return None


def find_labels(teacher: Teacher, generator: torch.Generator) -> tuple[Labels, ...]:
    """Outputs beside the chosen one that name the class with the largest value.

    Found by running the file: an output of labels is one whose value follows from the winner, on
    random inputs, by one of the label lists that the file holds, or by counting from 0.
    """
    model = teacher.source.proto
    others = {
        value.name: TYPES[value.type.tensor_type.elem_type]
        for value in model.graph.output
        if value.name != teacher.output.name
        and value.type.tensor_type.elem_type in TYPES
        and not any(node.op_type in UNBOUNDED for node in needed_nodes(model, [value.name]))
    }
    if not others:
        return ()
    wanted = [teacher.output.name, *others]
    session = open_source(teacher.source, wanted, optimise=False)
    unit = torch.rand((SAMPLES, *teacher.domain.shape), generator=generator)
    values, *given = run(session, teacher.domain.to_array(teacher.domain.to_file(unit)), wanted)
    winners = teacher.output.winners(values)
    found = []
    for (name, dtype), labels in zip(others.items(), given, strict=True):
        if labels.shape[0] != SAMPLES or labels.size != SAMPLES:
            continue
        for names in _label_lists(model, teacher.classes):
            if (np.array(names, dtype=object)[winners] == labels.reshape(-1)).all():
                found.append(Labels(name, dtype, labels.shape[1:], names))
                break
    return tuple(found)


def _listed(node: onnx.NodeProto) -> Names:
    for attribute in node.attribute:
        if attribute.name in ("classlabels_ints", "classlabels_int64s") and attribute.ints:
            return tuple(attribute.ints)
        if attribute.name == "classlabels_strings" and attribute.strings:
            return _decoded(attribute.strings)
    return ()


def _label_lists(model: onnx.ModelProto, classes: int) -> Iterator[Names]:
    """Lists of as many labels as there are classes: of operators with labels, of constants, and 0, 1, 2, ..."""
    constants = list(model.graph.initializer)
    for node in model.graph.node:
        if len(names := _listed(node)) == classes:
            yield names
        if node.op_type == "Constant":
            constants += [attribute.t for attribute in node.attribute if attribute.name == "value"]
    for tensor in constants:
        if tensor.data_type in TYPES and list(tensor.dims) == [classes] and not tensor.external_data:
            if tensor.data_type == TensorProto.STRING:
                yield _decoded(tensor.string_data)
            else:
                yield tuple(numpy_helper.to_array(tensor).tolist())
    yield tuple(range(classes))


def _decoded(words: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(word.decode("utf-8", "replace") for word in words)
