"""Probes: the logits of a teacher together with activations that losses need, computed in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.fuse_pooling import fuse_pooling
from zskd_onnx.importer.fx_graph import (
    computed_inputs,
    describe,
    give,
    is_constant,
    only_reader,
    operator_name,
    outputs_of,
    shape_of,
)
from zskd_onnx.importer.operators.quantization import dequantize_linear
from zskd_onnx.teacher.graphs import batches, mean_features
from zskd_onnx.teacher.probes.onnx_chain import OnnxLayer, channels_first
from zskd_onnx.teacher.probes.operator_families import ACTIVATIONS, CONVOLUTIONS, DEQUANTIZE, POOLING, QUANTIZE
from zskd_onnx.teacher.teacher import Teacher

REARRANGING = frozenset({"Reshape", "Transpose"})
"""Operators that can change the meaning of axes without changing the spatial size."""

SCALE_INPUT = {
    **dict.fromkeys(QUANTIZE, 1),
    **{"QLinearConv": 6, "com.microsoft.QLinearAdd": 6, "com.microsoft.QLinearMul": 6},
    **{"com.microsoft.QLinearLeakyRelu": 3, "com.microsoft.QLinearSigmoid": 3, "com.microsoft.QLinearAveragePool": 3},
    "com.microsoft.QLinearConcat": 0,
}
"""Operator with an integer output -> index of the input that is its scale. The zero point is the next input."""


class Probe(nn.Module):
    """A teacher that also returns activations, in real units even where the file computes in integers.

    It shares its weights with the teacher until one of the two moves to another device or type.
    """

    def __init__(self, teacher: Teacher, graph: fx.GraphModule, values: Sequence[fx.Node]) -> None:
        """
        Args:
            graph: a copy of the teacher's graph, from ``Teacher.graph``; it is changed in place.
            values: nodes of the graph whose values are returned.
        """
        super().__init__()
        give(graph, [outputs_of(graph)[0], *values])
        self._graph = fuse_pooling(graph)
        self._output = teacher.output
        self._batch = teacher.batch
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits (N, K), as from ``Teacher.logits``, and the values (N, ...), for x as the file takes it."""
        pieces = [self._graph(piece) for piece in batches(x, self._batch)]
        if self._batch is None:
            scores, *values = pieces[0]
        else:
            scores, *values = (torch.cat(parts)[: len(x)] for parts in zip(*pieces, strict=True))
        return self._output.to_logits(scores.reshape(len(x), -1)), tuple(values)

    def train(self, mode: bool = True) -> Probe:
        """Stay in inference mode, whatever ``mode`` is."""
        return super().train(False)


class ActivationMapsProbe(Probe):
    """A probe that returns activation maps (N, C, *size).

    Attributes:
        sizes: spatial size of each map, in order.
    """

    def __init__(self, teacher: Teacher, graph: fx.GraphModule, maps: dict[tuple[int, ...], fx.Node]) -> None:
        """
        Args:
            graph: see ``Probe``.
            maps: spatial size -> node.
        """
        super().__init__(teacher, graph, list(maps.values()))
        self.sizes = tuple(maps)


class BatchNormProbe(Probe):
    """A probe that returns the input (N, C, *size) of each batch normalisation."""

    def __init__(self, teacher: Teacher, graph: fx.GraphModule, nodes: Sequence[fx.Node]) -> None:
        """
        Args:
            graph: see ``Probe``.
            nodes: the BatchNormalization nodes.
        """
        super().__init__(teacher, graph, [node.args[0] for node in nodes])  # type: ignore[misc]
        self._names = [[str(n.target) for n in node.args[3:5] if is_constant(n)] for node in nodes]

    @property
    def statistics(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Running mean and variance, (C,) each, of every batch normalisation."""
        return tuple((self._graph.get_buffer(mean), self._graph.get_buffer(variance)) for mean, variance in self._names)


def features_probe(teacher: Teacher) -> Probe:
    """A probe of the input of the final fully connected layer, (N, F), as from ``Teacher.features``.

    Raises:
        UnsupportedTeacherError: the teacher has no final fully connected layer.
    """
    if teacher.head is None:
        raise UnsupportedTeacherError(
            f"{teacher.source.path}: no final fully connected layer was found, so features are unavailable; "
            "use a recipe that does not need features"
        )
    module = teacher.graph(features=True)
    _, *inputs = outputs_of(module)
    with module.graph.inserting_before(module.graph.output_node()):
        return Probe(teacher, module, [module.graph.call_function(mean_features, (inputs,))])


def inputs_probe(teacher: Teacher, layers: Sequence[OnnxLayer]) -> Probe:
    """A probe of the inputs of layers: (N, C, *size) of convolutions, (N, I) of fully connected layers.

    Args:
        layers: some of ``chain_layers(teacher)``. Inputs that the file flattens channels last are
            reordered to channels first.
    """
    module = teacher.graph()
    nodes = {describe(node): node for node in module.graph.nodes if node.op == "call_function"}
    values = []
    with module.graph.inserting_before(module.graph.output_node()):
        for layer in layers:
            (value,) = computed_inputs(nodes[layer.node])
            if layer.flattened is not None:
                value = module.graph.call_function(channels_first, (value, layer.flattened))
            values.append(value)
    return Probe(teacher, module, values)


def last_convolution_probe(teacher: Teacher) -> Probe:
    """A probe of the last convolution's output (N, C, *size) (Wang 2021, eq. 9).

    The last convolution is the one with the most convolutions before it on a path from the input. If an
    activation function is its only reader, the value is the activation. A 1x1 convolution that is the
    head does not count.

    Raises:
        UnsupportedTeacherError: the teacher has no convolution before the head.
    """
    module = teacher.graph()
    head = None if teacher.head is None else teacher.head.node
    depths: dict[fx.Node, int] = {}
    convolutions = []
    for node in module.graph.nodes:
        depths[node] = max((depths[n] for n in node.all_input_nodes), default=0)
        if operator_name(node) in CONVOLUTIONS and describe(node) != head:
            depths[node] += 1
            convolutions.append(node)
    if not convolutions:
        raise UnsupportedTeacherError(
            f"{teacher.source.path}: no convolution was found before the final layer; "
            "use a recipe that does not need one"
        )
    return Probe(teacher, module, [_activated(max(convolutions, key=depths.__getitem__))])


def activation_maps_probe(teacher: Teacher) -> ActivationMapsProbe:
    """A probe of the last activation map of each spatial size, in order of the graph (Zagoruyko 2017).

    Activation maps are outputs of convolutions, outputs of pooling behind these, and what is
    computed from them at the same spatial size. Sizes of one position do not count.

    Raises:
        UnsupportedTeacherError: the teacher has no activation map.
    """
    module = teacher.graph()
    maps = _last_maps(module.graph, teacher.batch or 1)
    if not maps:
        raise UnsupportedTeacherError(
            f"{teacher.source.path}: no activation map of a convolution was found; "
            "set distillation.loss_weights.attention to 0"
        )
    return ActivationMapsProbe(teacher, module, maps)


def batch_norm_probe(teacher: Teacher) -> BatchNormProbe:
    """A probe of the input of each batch normalisation, with its running statistics (Yin 2020, eq. 4).

    Raises:
        UnsupportedTeacherError: the graph has no batch normalisation; exporters often fold it into
            convolutions.
    """
    module = teacher.graph()
    nodes = [
        node
        for node in module.graph.nodes
        if operator_name(node) == "BatchNormalization" and all(map(is_constant, node.args[3:5]))
    ]
    if not nodes:
        raise UnsupportedTeacherError(
            f"{teacher.source.path}: no batch normalisation was found, perhaps because the exporter folded it into "
            "convolutions; export the model without folding, or use a recipe that does not need its statistics"
        )
    return BatchNormProbe(teacher, module, nodes)


def _activated(convolution: fx.Node) -> fx.Node:
    """The activation behind a convolution, or without one the convolution's output, in real units.

    Quantisers may stand between the two. The value after them is preferred to the value before.
    """
    value = node = _rescaled(convolution) if operator_name(convolution) == "ConvInteger" else convolution
    while (reader := only_reader(node)) is not None:
        name = operator_name(reader)
        if name in ACTIVATIONS:
            value = reader
            break
        if name not in QUANTIZE | DEQUANTIZE:
            break
        node = reader
        value = reader if name in DEQUANTIZE else value
    return _dequantized(value, value) if operator_name(value) in SCALE_INPUT else value


def _rescaled(convolution: fx.Node) -> fx.Node:
    """The real output of a ConvInteger: dynamic quantisation puts Cast, Mul and the bias behind it."""
    value = convolution
    for name in ("Cast", "Mul", "Add"):
        reader = only_reader(value)
        if reader is None or operator_name(reader) != name:
            break
        if name == "Add" and not any(map(is_constant, reader.args)):
            break
        value = reader
    return value


def _last_maps(graph: fx.Graph, batch: int) -> dict[tuple[int, ...], fx.Node]:
    """Spatial size -> node of the last activation map of that size, in real units.

    Args:
        batch: batch size of the shapes in the graph.
    """
    quantisers: dict[fx.Node, fx.Node | None] = {}  # map -> node that quantised it; None if it is real
    last: dict[tuple[int, ...], fx.Node] = {}
    for node in graph.nodes:
        shape, name = shape_of(node), operator_name(node)
        if shape is None or len(shape) < 3 or shape[0] != batch:
            continue
        size = shape[2:]
        input_maps = [n for n in node.all_input_nodes if n in quantisers]
        same_size = name not in REARRANGING and any((shape_of(n) or ())[2:] == size for n in input_maps)
        if not (same_size or name in CONVOLUTIONS or (name in POOLING and input_maps)):
            continue
        if name in SCALE_INPUT:
            quantisers[node] = node
        elif name in DEQUANTIZE | CONVOLUTIONS:
            quantisers[node] = None
        else:
            quantisers[node] = quantisers[input_maps[0]]
        if math.prod(size) >= 2:
            last.pop(size, None)  # so that the sizes are in the order of their last maps
            last[size] = node
    return {
        size: node if (quantiser := quantisers[node]) is None else _dequantized(node, quantiser)
        for size, node in last.items()
    }


def _dequantized(node: fx.Node, quantiser: fx.Node) -> fx.Node:
    """A new node at the end of the graph that converts integers to real units.

    Args:
        quantiser: the node that quantised them; its scale and zero point apply.
    """
    index, graph = SCALE_INPUT[operator_name(quantiser)], node.graph
    with graph.inserting_before(graph.output_node()):
        return graph.call_function(dequantize_linear, (node, *quantiser.args[index : index + 2]))
