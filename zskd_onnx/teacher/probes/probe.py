"""Logits and inner values of a teacher in one pass: what losses look at besides the answer."""

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
from zskd_onnx.teacher.probes.onnx_chain import WeightedLayer, channels_first
from zskd_onnx.teacher.probes.operator_families import ACTIVATIONS, CONVOLUTIONS, DEQUANTIZE, POOLING, QUANTIZE
from zskd_onnx.teacher.teacher import Teacher, batches, mean_features

REARRANGING = frozenset({"Reshape", "Transpose"})
"""Operators behind which the axes of a map of the same size may mean something else."""

SCALE = {
    **dict.fromkeys(QUANTIZE, 1),
    **{"QLinearConv": 6, "com.microsoft.QLinearAdd": 6, "com.microsoft.QLinearMul": 6},
    **{"com.microsoft.QLinearLeakyRelu": 3, "com.microsoft.QLinearSigmoid": 3, "com.microsoft.QLinearAveragePool": 3},
    "com.microsoft.QLinearConcat": 0,
}
"""Operators that give integers: which input is their scale; their zero point is the next."""


class Probe(nn.Module):
    """A teacher that also tells inner values, in real units where the file computes in integers.

    Weights are shared with the teacher until one of the two is moved to another device or type.
    """

    def __init__(self, teacher: Teacher, graph: fx.GraphModule, values: Sequence[fx.Node]) -> None:
        """``graph`` is the teacher's, ``values`` are nodes of it."""
        super().__init__()
        give(graph, [outputs_of(graph)[0], *values])
        self._graph = fuse_pooling(graph)
        self._output = teacher.output
        self._batch = teacher.batch
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits (N, K) as ``Teacher.logits`` gives them and the values (N, ...), for x as the file takes it."""
        pieces = [self._graph(piece) for piece in batches(x, self._batch)]
        if self._batch is None:
            scores, *values = pieces[0]
        else:
            scores, *values = (torch.cat(parts)[: len(x)] for parts in zip(*pieces, strict=True))
        return self._output.to_logits(scores.reshape(len(x), -1)), tuple(values)

    def train(self, mode: bool = True) -> Probe:
        """A teacher stays in inference mode."""
        return super().train(False)


class BlocksProbe(Probe):
    """Values are maps (N, C, *size).

    Attributes:
        sizes: the size of each.
    """

    def __init__(self, teacher: Teacher, graph: fx.GraphModule, maps: dict[tuple[int, ...], fx.Node]) -> None:
        super().__init__(teacher, graph, list(maps.values()))
        self.sizes = tuple(maps)


class BatchNormProbe(Probe):
    """Values are what each batch normalisation normalises, (N, C, *size)."""

    def __init__(self, teacher: Teacher, graph: fx.GraphModule, nodes: Sequence[fx.Node]) -> None:
        super().__init__(teacher, graph, [node.args[0] for node in nodes])  # type: ignore[misc]
        self._names = [[str(n.target) for n in node.args[3:5] if is_constant(n)] for node in nodes]

    @property
    def statistics(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Mean and variance (C,) of each, as the teacher has stored them."""
        return tuple((self._graph.get_buffer(mean), self._graph.get_buffer(variance)) for mean, variance in self._names)


def features_probe(teacher: Teacher) -> Probe:
    """The value is ``Teacher.features``, (N, F).

    Raises:
        UnsupportedTeacherError: there is no final fully connected layer.
    """
    if teacher.head is None:
        raise UnsupportedTeacherError(
            f"{teacher.source.path}: no final fully connected layer was found, and so no features before it; "
            "leave out what looks at features"
        )
    module = teacher.graph(features=True)
    _, *inputs = outputs_of(module)
    with module.graph.inserting_before(module.graph.output_node()):
        return Probe(teacher, module, [module.graph.call_function(mean_features, (inputs,))])


def inputs_probe(teacher: Teacher, layers: Sequence[WeightedLayer]) -> Probe:
    """The values are what each of the teacher's layers reads: (N, C, *sides) or, channels first, (N, I)."""
    module = teacher.graph()
    found = {describe(node): node for node in module.graph.nodes if node.op == "call_function"}
    values = []
    with module.graph.inserting_before(module.graph.output_node()):
        for layer in layers:
            (value,) = computed_inputs(found[layer.node])
            if layer.flattened is not None:
                value = module.graph.call_function(channels_first, (value, layer.flattened))
            values.append(value)
    return Probe(teacher, module, values)


def last_convolution_probe(teacher: Teacher) -> Probe:
    """The value is what the last convolution gives (Wang 2021, eq. 9), (N, C, *size).

    The last is the one behind most others, whatever the order in the file. An activation that alone
    reads it is applied. A 1x1 convolution that is the head does not count.

    Raises:
        UnsupportedTeacherError: there is no convolution.
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
            "leave out what looks at the last convolution"
        )
    return Probe(teacher, module, [_activated(max(convolutions, key=depths.__getitem__))])


def blocks_probe(teacher: Teacher) -> BlocksProbe:
    """The values are the last map of each spatial size of two positions or more, in order (Zagoruyko 2017).

    Maps are what convolutions give, what pooling makes of that, and what follows at the same size.

    Raises:
        UnsupportedTeacherError: there are none.
    """
    module = teacher.graph()
    found = _last_maps(module.graph, teacher.batch or 1)
    if not found:
        raise UnsupportedTeacherError(
            f"{teacher.source.path}: no activation map of a convolution was found; leave out attention transfer"
        )
    return BlocksProbe(teacher, module, found)


def batch_norm_probe(teacher: Teacher) -> BatchNormProbe:
    """The values are what each BatchNormalization normalises, its statistics beside them (Yin 2020, eq. 4).

    Raises:
        UnsupportedTeacherError: there are none, as where the exporter has folded them into convolutions.
    """
    module = teacher.graph()
    found = [
        node
        for node in module.graph.nodes
        if operator_name(node) == "BatchNormalization" and all(map(is_constant, node.args[3:5]))
    ]
    if not found:
        raise UnsupportedTeacherError(
            f"{teacher.source.path}: no batch normalisation is left in the graph (exporters fold it into convolutions); "
            "export the model without folding, or leave out what looks at its statistics"
        )
    return BatchNormProbe(teacher, module, found)


def _activated(convolution: fx.Node) -> fx.Node:
    """Follow a convolution to the activation behind it, or to the last value in real units before anything else."""
    value = node = _scaled(convolution) if operator_name(convolution) == "ConvInteger" else convolution
    while (reader := only_reader(node)) is not None:
        name = operator_name(reader)
        if name in ACTIVATIONS:
            value = reader
            break
        if name not in QUANTIZE | DEQUANTIZE:
            break
        node = reader
        value = reader if name in DEQUANTIZE else value
    return _dequantized(value, value) if operator_name(value) in SCALE else value


def _scaled(convolution: fx.Node) -> fx.Node:
    """The real value of a ConvInteger: dynamic quantisation writes Cast, Mul and the bias behind it."""
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
    """Spatial size -> the last map of that size, in real units."""
    quantisers: dict[fx.Node, fx.Node | None] = {}
    last: dict[tuple[int, ...], fx.Node] = {}
    for node in graph.nodes:
        shape, name = shape_of(node), operator_name(node)
        if shape is None or len(shape) < 3 or shape[0] != batch:
            continue
        size = shape[2:]
        before = [n for n in node.all_input_nodes if n in quantisers]
        follows = name not in REARRANGING and any((shape_of(n) or ())[2:] == size for n in before)
        if not (follows or name in CONVOLUTIONS or (name in POOLING and before)):
            continue
        if name in SCALE:
            quantisers[node] = node
        elif name in DEQUANTIZE | CONVOLUTIONS:
            quantisers[node] = None
        else:
            quantisers[node] = quantisers[before[0]]
        if math.prod(size) >= 2:
            last.pop(size, None)
            last[size] = node
    return {
        size: node if (maker := quantisers[node]) is None else _dequantized(node, maker) for size, node in last.items()
    }


def _dequantized(node: fx.Node, quantiser: fx.Node) -> fx.Node:
    """Integers in the units that another node gave them."""
    place, graph = SCALE[operator_name(quantiser)], node.graph
    with graph.inserting_before(graph.output_node()):
        return graph.call_function(dequantize_linear, (node, *quantiser.args[place : place + 2]))
