"""Equal ranges for the channels of an activation, without a change of the function (cross-layer equalisation).

An activation has one scale for all channels. Where one channel is a hundred times as large as another one, the other has
two steps left. ReLU and pooling do not change when a channel is multiplied by a positive number, so the layer before can be
divided by it and the layer behind multiplied (Nagel et al. 2019). The numbers are those of SmoothQuant (Xiao et al. 2023):
they balance the range of the activation against that of the weights that read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper
from torch import Tensor

from zskd_onnx.quantization.calibration import CalibrationSamples
from zskd_onnx.system.onnx_runtime import open_session
from zskd_onnx.teacher.classifier import Classifier

LAYERS = ("Conv", "Gemm")
PASSING = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Reshape")
"""Operators that commute with positive factors for channels, apart from how ``Flatten`` and ``Reshape`` lay them out."""

LEAST = 1e-8
"""Share of the largest channel below which a channel counts as empty."""

TOLERANCE = 1e-3
"""Largest difference that equalisation may make, relative to the largest score."""


@dataclass(frozen=True)
class Link:
    """Two layers, of which the second one alone reads the first one's channels.

    Attributes:
        first, second: the layers.
        value: input of the second layer, whose channels are equalised.
    """

    first: onnx.NodeProto
    second: onnx.NodeProto
    value: str


def equalise(model: onnx.ModelProto, classifier: Classifier, unit: Tensor) -> onnx.ModelProto | None:
    """A model that computes the same with equalised channels, or None where no two layers follow each other.

    Args:
        model: from ``prepare``.
        classifier: what the model computes.
        unit: calibration samples (N, *shape) in the unit space.
    """
    equalised = onnx.ModelProto()
    equalised.CopyFrom(model)
    links = list(find_links(equalised))
    if not links:
        return None
    largest = _largest_values(equalised, classifier, unit, [link.value for link in links])
    stored = {tensor.name: tensor for tensor in equalised.graph.initializer}
    for link in reversed(links):  # the weights that read a layer's channels are then on their final scale
        _scale(link, stored, largest[link.value])
    return equalised if _agree(model, equalised, classifier, unit) else None


def find_links(model: onnx.ModelProto) -> Iterator[Link]:
    """The pairs of layers of a model between which channels can be scaled, in the model's order."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    visible = {value.name for value in model.graph.output}
    for first in model.graph.node:
        if not _scalable(first, weights, readers):
            continue
        value = first.output[0]
        while value not in visible and len(readers.get(value, ())) == 1:
            (node,) = readers[value]
            if node.input[0] != value:
                break
            if node.op_type in LAYERS and _scalable(node, weights, readers):
                if _inputs_of(node, weights) % _channels(first, weights) == 0:
                    yield Link(first, node, value)
                break
            if node.op_type not in PASSING or node.domain not in ("", "ai.onnx"):
                break
            value = node.output[0]


def _scalable(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto], readers: dict[str, list[onnx.NodeProto]]
) -> bool:
    """Whether a node is a layer with float weights of its own."""
    if node.op_type not in LAYERS or node.domain not in ("", "ai.onnx"):
        return False
    constants = [name for name in node.input[1:] if name]
    return all(
        name in weights and weights[name].data_type == onnx.TensorProto.FLOAT and len(readers[name]) == 1
        for name in constants
    )


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _channels(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> int:
    """Number of output channels."""
    sizes = weights[node.input[1]].dims
    return sizes[0] if node.op_type == "Conv" or _attribute(node, "transB", 0) else sizes[1]


def _inputs_of(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> int:
    """Number of input channels."""
    sizes = weights[node.input[1]].dims
    if node.op_type == "Conv":
        return sizes[1] * _attribute(node, "group", 1)
    return sizes[1] if _attribute(node, "transB", 0) else sizes[0]


def _largest_values(
    model: onnx.ModelProto, classifier: Classifier, unit: Tensor, names: list[str]
) -> dict[str, np.ndarray]:
    """Largest absolute value of each channel of some values, on samples."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    visible = {value.name for value in exposed.graph.output}
    exposed.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in visible
    )
    session = open_session(exposed.SerializeToString(), on_cpu=True)
    samples, largest = CalibrationSamples(classifier, model, unit), dict[str, np.ndarray]()
    while (feeds := samples.get_next()) is not None:
        for name, values in zip(names, session.run(names, feeds), strict=True):
            channels = np.abs(values).max(axis=(0, *range(2, values.ndim)))
            largest[name] = np.maximum(largest.get(name, channels), channels)
    return largest


def _scale(link: Link, stored: dict[str, onnx.TensorProto], largest: np.ndarray) -> None:
    """Divide the first layer's channels by factors, and multiply what the second layer reads of them, in place."""
    first, second = link.first, link.second
    count = _channels(first, stored)
    after = numpy_helper.to_array(stored[second.input[1]])
    weights = _by_input(second, after)  # (groups, outputs, inputs of a group, positions)
    groups, _, inputs, _ = weights.shape
    if len(largest) != groups * inputs:
        return
    activations = largest.reshape(count, -1).max(1)
    reading = np.abs(weights).max(axis=(1, 3)).reshape(count, -1).max(1)
    usable = (activations > LEAST * activations.max()) & (reading > 0)
    if not usable.any():
        return
    # An output of a depthwise convolution reads one channel and has its own scale: only the activations matter.
    ratio = activations[usable] if inputs == 1 else np.sqrt(activations[usable] / reading[usable])
    factors = np.ones(count)
    factors[usable] = ratio / np.exp(np.log(ratio).mean())
    empty = ~usable & (reading > 0)  # large weights of such a channel would take the steps of the others
    factors[empty] = (factors * reading)[usable].min() / reading[empty]
    for name in filter(None, first.input[1:]):
        before = numpy_helper.to_array(stored[name])
        last = first.op_type == "Gemm" and not _attribute(first, "transB", 0)
        _store(stored[name], before / (factors if last else factors.reshape(-1, *[1] * (before.ndim - 1))))
    wide = np.repeat(factors, groups * inputs // count).reshape(groups, 1, inputs, 1)
    scaled = (weights * wide).reshape(after.T.shape if _transposed(second) else after.shape)
    _store(stored[second.input[1]], scaled.T if _transposed(second) else scaled)


def _by_input(node: onnx.NodeProto, weight: np.ndarray) -> np.ndarray:
    """A layer's weight as (groups, outputs of a group, inputs of a group, positions)."""
    matrix = weight.T if _transposed(node) else weight
    return matrix.reshape(_attribute(node, "group", 1), -1, matrix.shape[1], math.prod(matrix.shape[2:]))


def _transposed(node: onnx.NodeProto) -> bool:
    """Whether a layer's weight has the input channels before the output channels."""
    return node.op_type == "Gemm" and not _attribute(node, "transB", 0)


def _store(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), tensor.name))


def _agree(model: onnx.ModelProto, equalised: onnx.ModelProto, classifier: Classifier, unit: Tensor) -> bool:
    """Whether both models compute the same scores for the first samples, as far as single precision goes."""
    first, second = (open_session(part.SerializeToString(), on_cpu=True) for part in (model, equalised))
    batch = CalibrationSamples(classifier, model, unit).get_next()
    name = classifier.output.name
    (expected,), (scores,) = (session.run([name], batch) for session in (first, second))
    if not isinstance(expected, np.ndarray):  # the rows of a ZipMap
        expected, scores = (np.array([list(row.values()) for row in rows]) for rows in (expected, scores))
    return bool(np.abs(scores - expected).max() <= TOLERANCE * max(np.abs(expected).max(), 1e-12))
