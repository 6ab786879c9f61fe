"""Conversion to half precision by onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.quantization.calibration import CalibrationSamples
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.classifier import Classifier

LARGEST = float(np.finfo(np.float16).max)

SAMPLES = 32
"""Samples on which the values within the network are looked at; the sessions of a CPU would compute them in single precision."""


def to_half_precision(model: onnx.ModelProto, classifier: Classifier, unit: Tensor) -> onnx.ModelProto:
    """A model with 16-bit weights and activations; inputs and outputs keep their types.

    Args:
        model: from ``prepare``.
        classifier: what the model computes.
        unit: samples (N, *shape) in the unit space.

    Raises:
        UnsupportedTeacherError: a value within the network exceeds the range of half precision.
    """
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    computed = {name for node in model.graph.node for name in node.output} - {
        value.name for value in model.graph.output
    }
    inner = [
        value
        for value in model.graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name in computed
    ]
    exposed.graph.output.extend(inner)
    session, names = open_session(exposed.SerializeToString(), on_cpu=True), [value.name for value in inner]
    samples = CalibrationSamples(classifier, model, unit[:SAMPLES])
    while (feeds := samples.get_next()) is not None:
        for name, values in zip(names, session.run(names, feeds) if names else [], strict=True):
            if values.size and not np.abs(values).max() <= LARGEST:
                raise UnsupportedTeacherError(
                    f"{classifier.source.path}: value '{name}' reaches {np.abs(values).max():.3g}, beyond the range of fp16 "
                    f"({LARGEST:g}); use int8"
                )
    return convert_float_to_float16(model, keep_io_types=True)
