"""Static quantisation to 8-bit integers by onnxruntime."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from torch import Tensor

from zskd_onnx.quantization.calibration import CalibrationSamples
from zskd_onnx.teacher.classifier import Classifier

QUANTISED = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Concat"),
    *("Relu", "LeakyRelu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Pad", "Slice", "Split", "Resize"),
)
"""Operators that compute with integers. Softmax, sigmoid and normalisations do not: they need more than 255 steps."""

OPTIONS = {
    # onnxruntime quantises biases when it loads the file. In float they take less space, without scales and zero points.
    "QuantizeBias": False,
}


def to_integers(model: onnx.ModelProto, classifier: Classifier, unit: Tensor) -> onnx.ModelProto:
    """A model with 8-bit weights and activations, as pairs of QuantizeLinear and DequantizeLinear.

    Weights have a scale for each output channel, and go from -64 to 64: with larger ones, x86 CPUs without VNNI
    add two products to a wrong sum, see ``docs/operators.md``. Activations go from 0 to 255 and cover the lowest and
    highest values that the calibration samples give: percentiles and entropy were no better, see
    ``docs/decisions/017-int8-calibration.md``.

    Args:
        model: from ``prepare``.
        classifier: what the model computes.
        unit: calibration samples (N, *shape) in the unit space.
    """
    own = onnx.ModelProto()
    own.CopyFrom(model)  # onnxruntime moves its large weights into a temporary file
    with tempfile.TemporaryDirectory() as folder, _silence():
        path = Path(folder) / "quantised.onnx"
        quantize_static(
            own,
            path,
            CalibrationSamples(classifier, model, unit),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=_products_of_activations(model),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=OPTIONS,
        )
        quantised = onnx.load(path)
    _compact(quantised, model)
    return quantised


def _products_of_activations(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that multiply activations by each other, as attention does; they stay in float.

    onnxruntime fuses the softmax between two such products into an integer kernel, whose results were off by a fifth of the
    range of a transformer's outputs.
    """
    weights = {weight.name for weight in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and not weights & set(node.input)]


def _compact(quantised: onnx.ModelProto, before: onnx.ModelProto) -> None:
    """Make the file small, in place: short names for what the quantiser added, and no inferred shapes.

    In a small network, the names of scales and zero points take more bytes than their values.
    """
    graph = quantised.graph
    graph.ClearField("value_info")
    old_values = {name for node in before.graph.node for name in (*node.input, *node.output)}
    old_nodes = {node.name for node in before.graph.node}
    values = dict.fromkeys(name for node in graph.node for name in (*node.input, *node.output))
    added = [name for name in values if name not in old_values]
    free = (name for name in map("q{:x}".format, itertools.count()) if name not in old_values)
    short = dict(zip(added, free, strict=False))
    for node in graph.node:
        node.input[:] = [short.get(name, name) for name in node.input]
        node.output[:] = [short.get(name, name) for name in node.output]
        if node.name not in old_nodes:
            node.ClearField("name")
    for weight in graph.initializer:
        weight.name = short.get(weight.name, weight.name)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress what the quantiser prints and logs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
