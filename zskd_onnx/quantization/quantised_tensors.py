"""Which tensors of a model its quantised version rounds, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import numpy_helper


@dataclass(frozen=True)
class Scale:
    """Scale and zero point of an activation's 8 bits.

    Attributes:
        step: difference of two neighbouring values, which ONNX calls the scale.
        zero_point: the integer that stands for 0.
    """

    step: float
    zero_point: int


@dataclass(frozen=True)
class QuantisedTensors:
    """The tensors of a float model that a pair of QuantizeLinear and DequantizeLinear follows in its quantised version.

    Attributes:
        weights: name of a weight -> axis of its output channels, or None with one scale for all of them.
        activations: name of a value -> its scale.
    """

    weights: Mapping[str, int | None]
    activations: Mapping[str, Scale]


def quantised_tensors(model: onnx.ModelProto, quantised: onnx.ModelProto) -> QuantisedTensors:
    """The quantised tensors of a model.

    Args:
        model: the float model; its nodes have names.
        quantised: from ``to_integers``, which keeps these names.
    """
    constants = {tensor.name: tensor for tensor in quantised.graph.initializer}
    producers = {name: node for node in quantised.graph.node for name in node.output}
    weights, activations = dict[str, int | None](), dict[str, Scale]()
    for name, read in _pairs(model, quantised):
        dequantiser = producers.get(read)
        if dequantiser is None or dequantiser.op_type != "DequantizeLinear":
            continue
        stored, scale_name, zero_name = dequantiser.input
        scale = numpy_helper.to_array(constants[scale_name])
        if stored in constants:
            weights[name] = _axis(dequantiser) if scale.ndim else None
        else:
            zero = numpy_helper.to_array(constants[zero_name])
            activations[name] = Scale(float(scale.item()), int(zero.item()))
    return QuantisedTensors(weights, activations)


def _pairs(model: onnx.ModelProto, quantised: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """Names of values in the float model, and of those that the same nodes and outputs have in the quantised one."""
    nodes = {node.name: node for node in quantised.graph.node if node.name}
    for node in model.graph.node:
        if (after := nodes.get(node.name)) is not None:
            yield from zip(node.input, after.input, strict=False)
    yield from ((value.name, value.name) for value in model.graph.output)


def _axis(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 1)
