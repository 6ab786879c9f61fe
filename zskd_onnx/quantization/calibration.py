"""Samples as a file takes them, and as onnxruntime's calibration reads them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader
from torch import Tensor

from zskd_onnx.importer.file.fixed_inputs import fixed_values, is_per_sample
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.graphs import batches

BATCH = 32
"""Samples of a batch, where the file does not fix their number."""


def fixed_batch(classifier: Classifier, model: onnx.ModelProto) -> int | None:
    """The number of samples of a batch that a classifier's file asks for, or None where any will do."""
    (value,) = (value for value in model.graph.input if value.name == classifier.domain.name)
    sizes = value.type.tensor_type.shape.dim
    return (sizes[0].dim_value or None) if sizes else None


def feeds(classifier: Classifier, model: onnx.ModelProto, unit: Tensor) -> dict[str, np.ndarray]:
    """One batch for all inputs of a classifier's file: input name -> value.

    Other inputs than that of the samples get the constants that they were fixed to. An input without a constant is one
    that no output depends on; it gets zeros.

    Args:
        model: content of the file.
        unit: samples (N, *shape) in the unit space; N is the file's batch size if it has one.
    """
    domain, source = classifier.domain, classifier.source
    constants = fixed_values(source.proto, source.fixed)
    values = {domain.name: domain.to_array(domain.to_file(unit.float()))}
    for value in model.graph.input:
        kind = value.type.tensor_type
        if value.name in constants:
            constant = constants[value.name]
            per_sample = is_per_sample(source.proto, value.name)
            values[value.name] = np.repeat(constant, len(unit), axis=0) if per_sample else constant
        elif value.name != domain.name:
            sizes = [size.dim_value or len(unit) for size in kind.shape.dim]
            values[value.name] = np.zeros(sizes, dtype=helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return values


class CalibrationSamples(CalibrationDataReader):  # type: ignore[misc]
    """Samples in batches, for onnxruntime's calibration."""

    def __init__(self, classifier: Classifier, model: onnx.ModelProto, unit: Tensor) -> None:
        """For the arguments, see ``feeds``; the number of samples is free."""
        size = fixed_batch(classifier, model) or BATCH
        self._parts = (feeds(classifier, model, part) for part in batches(unit, size))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None after the last."""
        return next(self._parts, None)
