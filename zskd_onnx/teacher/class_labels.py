"""Outputs that hold the label of the predicted class, and the keys of a ZipMap."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.source import OnnxFile
from zskd_onnx.importer.file.subgraph import nodes_behind
from zskd_onnx.system.onnx_runtime import run
from zskd_onnx.teacher.class_names import LABEL_TYPES, label_lists, labels_of
from zskd_onnx.teacher.parity import open_onnx_file
from zskd_onnx.teacher.signature.domain import Domain
from zskd_onnx.teacher.signature.output import Labels, Names, Output

SAMPLES = 64
"""Number of random inputs on which an output must hold the label of the predicted class."""

UNBOUNDED = ("Loop", "Scan", "If")
"""Operators that an output of labels may not depend on.

The importer reads only what the scores depend on, so it has not limited their cost elsewhere.
"""


def zipped_names(model: onnx.ModelProto, output: str) -> Names | None:
    """Keys of an output that is a ZipMap, or None for any other output.

    Args:
        output: name of the output.

    Raises:
        UnsupportedTeacherError: the keys are not sorted, so the order of the classes is ambiguous.
    """
    for node in model.graph.node:
        if node.op_type == "ZipMap" and output in node.output:
            names = labels_of(node)
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
        for names in label_lists(model, output):
            if (np.array(names, dtype=object)[predicted] == labels.reshape(-1)).all():
                outputs.append(Labels(name, dtype, labels.shape[1:], names))
                break
    return tuple(outputs)
