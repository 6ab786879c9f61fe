"""Layers with weights of a teacher whose graph is a plain chain, in the form of torch's modules.

Pruned students are initialised from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, fx

from zskd_onnx.importer.fx_graph import (
    computed_inputs,
    describe,
    is_constant,
    only_reader,
    operator_name,
    readers,
    shape_of,
)
from zskd_onnx.importer.operators.padding import resolve_pads
from zskd_onnx.teacher.probes.operator_families import WEIGHTLESS
from zskd_onnx.teacher.signature.affine import weight_matrix
from zskd_onnx.teacher.teacher import Teacher

Ints = tuple[int, ...]
SCALING = frozenset({"Add", "Sub", "Mul", "Div"})
"""Operators that scale the input before the first layer."""


@dataclass(frozen=True)
class OnnxLayer:
    """A layer with weights.

    Attributes:
        kind: "convolution", "linear" (fully connected) or "batch_norm".
        node: the ONNX node, as messages name it.
        weight: shape (O, I / groups, *kernel) for a convolution, (O, I) for a fully connected
            layer, (C,) for batch normalisation.
        bias: shape (O,) or (C,), or None.
        mean: running mean of batch normalisation, (C,); None for other kinds.
        variance: running variance of batch normalisation, (C,); None for other kinds.
        epsilon: number that batch normalisation adds to the variance.
        stride: stride of a convolution along each spatial axis; empty for other kinds, as are the
            next two.
        padding: zeros that a convolution adds on both sides of each spatial axis. None if the two
            sides of an axis differ, which torch's modules cannot express.
        dilation: dilation of a convolution along each spatial axis.
        groups: groups of a convolution.
        flattened: shape (*size, C) of a channels-last input that the file flattens for a fully
            connected layer; None if the input is flattened channels first, or not at all.
    """

    kind: Literal["convolution", "linear", "batch_norm"]
    node: str
    weight: Tensor
    bias: Tensor | None
    mean: Tensor | None = None
    variance: Tensor | None = None
    epsilon: float = 1e-5
    stride: Ints = ()
    padding: Ints | None = ()
    dilation: Ints = ()
    groups: int = 1
    flattened: Ints | None = None


def chain_layers(teacher: Teacher) -> list[OnnxLayer] | None:
    """The layers with weights in order, or None if the network is no chain of supported layers.

    In a chain, the output of each layer goes to the next layer and nowhere else. Operators without
    weights may stand between layers, and may branch, as x * sigmoid(x) does. Scaling before the
    first layer is skipped. The columns of a fully connected layer are in channels-first order, even
    if the file flattens its inputs channels last.
    """
    module = teacher.graph()
    layers: list[OnnxLayer] = []
    pending_readers: dict[fx.Node, int] = {}  # node -> number of its readers that are still to come
    # Shape (*size, C) of a sample while its channels are last, otherwise None.
    channels_last = teacher.domain.file_shape(1)[1:] if teacher.domain.channels_last else None
    for node in module.graph.nodes:
        shape, name = shape_of(node), operator_name(node)
        if shape is None or is_constant(node):
            continue
        for value in computed_inputs(node):
            pending_readers[value] -= 1
        is_only_path = not any(pending_readers.values())  # no branch runs beside this node
        pending_readers[node] = len(readers(node))
        layer = read_layer(module, node)
        if node.op == "placeholder":
            continue
        if layer is not None and not is_only_path:
            return None
        if layer is not None and name == "Add":
            layers[-1] = replace(layers[-1], bias=layer.bias)
        elif layer is not None:
            inputs = layer.weight.shape[1] if layer.kind == "linear" else None
            if channels_last is not None and inputs == math.prod(channels_last):
                layer = replace(layer, weight=channels_first(layer.weight, channels_last), flattened=channels_last)
            layers.append(layer)
            channels_last = None
        elif name == "Transpose" and is_only_path:
            rank = len(shape)
            move_channels = (0, *range(2, rank), 1) if channels_last is None else (0, rank - 1, *range(1, rank - 1))
            if node.kwargs.get("perm") != move_channels:
                return None
            channels_last = shape[1:] if channels_last is None else None
        elif name not in WEIGHTLESS or (name == "Pad" and is_only_path):
            return None  # a separate Pad is no part of the next layer's own padding
        elif _holds_weights(node) and (layers or name not in SCALING):
            return None
    return layers


def read_layer(module: fx.GraphModule, node: fx.Node) -> OnnxLayer | None:
    """The layer that a node of ``Teacher.graph`` computes, or None if it is no layer with constant weights.

    Fully connected layers have inputs (N, I). An Add of a layer and a constant is that layer with a
    bias.
    """
    if operator_name(node) == "Add":
        return _layer_plus_constant(module, node)
    data, *others = node.args or (None,)
    if not isinstance(data, fx.Node) or is_constant(data):
        return None
    weights = [module.get_buffer(str(other.target)) for other in others if is_constant(other)]
    if len(weights) != len(others) - others.count(None):
        return None
    input_shape = shape_of(data) or ()
    match operator_name(node):
        case "Conv" | "com.microsoft.FusedConv" if len(others) <= 2:
            return _convolution(node, input_shape, *weights)
        case "Gemm" | "MatMul" | "zskd.Linear" if len(input_shape) == 2:
            return _linear(node, *weights)
        case "BatchNormalization":
            scale, shift, mean, variance = weights
            epsilon: Any = node.kwargs.get("epsilon", 1e-5)
            return OnnxLayer("batch_norm", describe(node), scale, shift, mean, variance, epsilon)
    return None


def _convolution(node: fx.Node, input_shape: Ints, weight: Tensor, bias: Tensor | None = None) -> OnnxLayer:
    """The layer of a Conv node."""
    attributes: dict[str, Any] = node.kwargs
    kernel = tuple(weight.shape[2:])
    ones = (1,) * len(kernel)
    stride, dilation = tuple(attributes.get("strides") or ones), tuple(attributes.get("dilations") or ones)
    before, after = resolve_pads(
        input_shape[2:], kernel, stride, dilation, attributes.get("pads"), attributes.get("auto_pad", "NOTSET")
    )
    return OnnxLayer(
        "convolution",
        describe(node),
        weight,
        bias,
        stride=stride,
        padding=tuple(before) if before == after else None,
        dilation=dilation,
        groups=attributes.get("group", 1),
    )


def _linear(node: fx.Node, weight: Tensor, bias: Tensor | None = None) -> OnnxLayer | None:
    """The layer of a Gemm or MatMul node, or None if it is not a plain product."""
    attributes: dict[str, Any] = node.kwargs
    matrix = weight_matrix("Gemm" if operator_name(node) == "Gemm" else "MatMul", weight, attributes)
    if matrix is None:
        return None
    layer = OnnxLayer("linear", describe(node), matrix, None)
    return layer if bias is None else _add_bias(layer, bias * attributes.get("beta", 1.0))


def _layer_plus_constant(module: fx.GraphModule, node: fx.Node) -> OnnxLayer | None:
    """The layer of an Add node whose operands are a layer, read by nothing else, and a constant."""
    a, b = node.args
    product, constant = (b, a) if is_constant(a) else (a, b)
    if not isinstance(product, fx.Node) or not is_constant(constant) or only_reader(product) is not node:
        return None
    if operator_name(product) in ("Add", "BatchNormalization"):
        return None
    layer = read_layer(module, product)
    return None if layer is None else _add_bias(layer, module.get_buffer(str(constant.target)))


def _add_bias(layer: OnnxLayer, constant: Tensor) -> OnnxLayer | None:
    """The layer plus a constant, or None unless the constant has one number, or one per output."""
    outputs = len(layer.weight)
    per_output = (1, outputs, *(1,) * (layer.weight.ndim - 2))
    if constant.numel() != 1 and tuple(constant.shape) not in (per_output, per_output[1:]):
        return None
    bias = constant.flatten().expand(outputs)
    return replace(layer, bias=bias if layer.bias is None else layer.bias + bias)


def _holds_weights(node: fx.Node) -> bool:
    """Whether a node reads a constant with more than one number."""
    return any(is_constant(n) and math.prod(shape_of(n) or ()) > 1 for n in node.all_input_nodes)


def channels_first(values: Tensor, channels_last: Ints) -> Tensor:
    """Reorder values (N, I) from flattened (*size, C) to flattened (C, *size).

    Args:
        channels_last: (*size, C).
    """
    return values.unflatten(1, channels_last).movedim(-1, 1).flatten(1)
