"""The layers with weights of a plain chain, as torch's modules hold them: a student may inherit from them."""

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
from zskd_onnx.teacher.signature.affine import rows_of
from zskd_onnx.teacher.teacher import Teacher

Ints = tuple[int, ...]
SCALING = frozenset({"Add", "Sub", "Mul", "Div"})


@dataclass(frozen=True)
class WeightedLayer:
    """A layer with weights.

    Attributes:
        kind: "convolution", "linear" or "batch_norm".
        node: the ONNX node, as messages name it.
        weight: (O, I / groups, *kernel) of a convolution, (O, I) of a fully connected layer, (C,) of a
            batch normalisation.
        bias: (O,) or (C,), or None.
        mean, variance: of a batch normalisation, (C,).
        epsilon: what it adds to the variance.
        stride, dilation: of a convolution, for each spatial axis.
        padding: likewise; None where the two sides of an axis differ, which torch's modules do not do.
        groups: of a convolution.
        flattened: of a fully connected layer, the shape (*size, C) that the file flattens for it, where its channels stand last.
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


def weighted_layers(teacher: Teacher) -> list[WeightedLayer] | None:
    """The layers with weights in order; None unless the network is a chain of layers that are known.

    In a chain each layer reads what the one before made, and nothing else does. What stands between
    has no weights, though it may branch, as x * sigmoid(x) does. Scaling before the first layer is
    passed over. A fully connected layer takes its inputs channels first here, whatever order the
    file flattens them in.
    """
    module = teacher.graph()
    layers: list[WeightedLayer] = []
    unread: dict[fx.Node, int] = {}
    # The shape (*size, C) of a sample while its channels stand last.
    last = teacher.domain.file_shape(1)[1:] if teacher.domain.channels_last else None
    for node in module.graph.nodes:
        shape, name = shape_of(node), operator_name(node)
        if shape is None or is_constant(node):
            continue
        for value in computed_inputs(node):
            unread[value] -= 1
        alone = not any(unread.values())
        unread[node] = len(readers(node))
        layer = read_layer(module, node)
        if node.op == "placeholder":
            continue
        if layer is not None and not alone:
            return None
        if layer is not None and name == "Add":
            layers[-1] = replace(layers[-1], bias=layer.bias)
        elif layer is not None:
            if layer.kind == "linear" and last is not None and layer.weight.shape[1] == math.prod(last):
                layer = replace(layer, weight=channels_first(layer.weight, last), flattened=last)
            layers.append(layer)
            last = None
        elif name == "Transpose" and alone:
            rank = len(shape)
            moved = (0, *range(2, rank), 1) if last is None else (0, rank - 1, *range(1, rank - 1))
            if node.kwargs.get("perm") != moved:
                return None
            last = shape[1:] if last is None else None
        elif name not in WEIGHTLESS or (name == "Pad" and alone):
            return None  # a Pad on the way itself is padding that the next layer does not know of
        elif _holds_weights(node) and (layers or name not in SCALING):
            return None
    return layers


def read_layer(module: fx.GraphModule, node: fx.Node) -> WeightedLayer | None:
    """What a node of ``Teacher.graph`` holds, if it is a layer with constant weights.

    A fully connected layer here has inputs (N, I). An Add that gives a layer its bias is that layer.
    """
    if operator_name(node) == "Add":
        return _with_bias(module, node)
    data, *others = node.args or (None,)
    if not isinstance(data, fx.Node) or is_constant(data):
        return None
    weights = [module.get_buffer(str(other.target)) for other in others if is_constant(other)]
    if len(weights) != len(others) - others.count(None):
        return None
    given = shape_of(data) or ()
    match operator_name(node):
        case "Conv" | "com.microsoft.FusedConv" if len(others) <= 2:
            return _convolution(node, given, *weights)
        case "Gemm" | "MatMul" | "zskd.Linear" if len(given) == 2:
            return _linear(node, *weights)
        case "BatchNormalization":
            scale, shift, mean, variance = weights
            epsilon: Any = node.kwargs.get("epsilon", 1e-5)
            return WeightedLayer("batch_norm", describe(node), scale, shift, mean, variance, epsilon)
    return None


def _convolution(node: fx.Node, given: Ints, weight: Tensor, bias: Tensor | None = None) -> WeightedLayer:
    settings: dict[str, Any] = node.kwargs
    kernel = tuple(weight.shape[2:])
    ones = (1,) * len(kernel)
    stride, dilation = tuple(settings.get("strides") or ones), tuple(settings.get("dilations") or ones)
    before, after = resolve_pads(
        given[2:], kernel, stride, dilation, settings.get("pads"), settings.get("auto_pad", "NOTSET")
    )
    return WeightedLayer(
        "convolution",
        describe(node),
        weight,
        bias,
        stride=stride,
        padding=tuple(before) if before == after else None,
        dilation=dilation,
        groups=settings.get("group", 1),
    )


def _linear(node: fx.Node, weight: Tensor, bias: Tensor | None = None) -> WeightedLayer | None:
    settings: dict[str, Any] = node.kwargs
    rows = rows_of("Gemm" if operator_name(node) == "Gemm" else "MatMul", weight, settings)
    if rows is None:
        return None
    layer = WeightedLayer("linear", describe(node), rows, None)
    return layer if bias is None else _shifted(layer, bias * settings.get("beta", 1.0))


def _with_bias(module: fx.GraphModule, node: fx.Node) -> WeightedLayer | None:
    """Add of a layer and a constant."""
    a, b = node.args
    product, constant = (b, a) if is_constant(a) else (a, b)
    if not isinstance(product, fx.Node) or not is_constant(constant) or only_reader(product) is not node:
        return None
    if operator_name(product) in ("Add", "BatchNormalization"):
        return None
    layer = read_layer(module, product)
    return None if layer is None else _shifted(layer, module.get_buffer(str(constant.target)))


def _shifted(layer: WeightedLayer, constant: Tensor) -> WeightedLayer | None:
    """With a constant added, if it holds one number for each output or for all."""
    outputs = len(layer.weight)
    each = (1, outputs, *(1,) * (layer.weight.ndim - 2))
    if constant.numel() != 1 and tuple(constant.shape) not in (each, each[1:]):
        return None
    bias = constant.flatten().expand(outputs)
    return replace(layer, bias=bias if layer.bias is None else layer.bias + bias)


def _holds_weights(node: fx.Node) -> bool:
    """Whether a node reads a constant of more than one number."""
    return any(is_constant(n) and math.prod(shape_of(n) or ()) > 1 for n in node.all_input_nodes)


def channels_first(values: Tensor, last: Ints) -> Tensor:
    """Values (N, I) of flattened (*size, C) as those of flattened (C, *size)."""
    return values.unflatten(1, last).movedim(-1, 1).flatten(1)
