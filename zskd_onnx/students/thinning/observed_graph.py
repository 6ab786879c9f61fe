"""An ONNX graph in which the shape of every value is known, as onnxruntime computes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from zskd_onnx.system.onnx_runtime import open_session

Feeds = Mapping[str, np.ndarray]
"""Input -> value."""

CONSTANT = "Constant"
INPUT, OUTPUT = -2, -1
"""Numbers that stand for the graph's inputs and outputs where a node's index is expected."""


@dataclass(frozen=True)
class ObservedGraph:
    """A graph, and what onnxruntime computes for one batch.

    Attributes:
        proto: the model, without local functions.
        shapes: value -> shape, for all tensors, initialisers too.
        types: value -> element type.
        integers: value -> content of all integer tensors.
        constants: names of all values that do not depend on the graph's inputs.
    """

    proto: onnx.ModelProto
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, np.dtype]
    integers: dict[str, np.ndarray]
    constants: frozenset[str]

    @cached_property
    def nodes(self) -> list[Node]:
        """All nodes in graph order."""
        return [Node(i, node, self) for i, node in enumerate(self.proto.graph.node)]

    @cached_property
    def readers(self) -> dict[str, list[Node]]:
        """Value -> the nodes that read it, once for each input."""
        readers = defaultdict(list)
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return dict(readers)

    @cached_property
    def producers(self) -> dict[str, Node]:
        """Value -> the node that computes it."""
        return {name: node for node in self.nodes for name in node.outputs}

    def describe(self, node: int) -> str:
        """A node in messages, or what stands in its place."""
        return {INPUT: "the graph's input", OUTPUT: "the graph's output"}.get(node) or self.nodes[node].describe()


@dataclass(frozen=True)
class Node:
    """A node of an observed graph.

    Attributes:
        index: position in the graph.
        proto: the node.
        graph: the graph that it belongs to.
    """

    index: int
    proto: onnx.NodeProto
    graph: ObservedGraph

    @property
    def kind(self) -> str:
        """The operator's name."""
        return self.proto.op_type

    @property
    def opset(self) -> int:
        """Version of the node's operator set."""
        return next((o.version for o in self.graph.proto.opset_import if o.domain == self.proto.domain), 1)

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs; "" stands for one that is left out."""
        return list(self.proto.input)

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return list(self.proto.output)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Attributes by name."""
        return {a.name: onnx.helper.get_attribute_value(a) for a in self.proto.attribute}

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an input or output."""
        return self.graph.shapes[name]

    def list_of(self, attribute: str, position: int) -> list[int] | None:
        """Whole numbers that are an attribute or, in newer versions, an input; None where they are left out."""
        if attribute in self.attributes:
            return [int(n) for n in self.attributes[attribute]]
        if len(self.inputs) > position and self.inputs[position]:
            return [int(n) for n in self.graph.integers[self.inputs[position]].reshape(-1)]
        return None

    def axis(self, rank: int, default: int) -> int:
        """The attribute ``axis``, not negative."""
        return int(self.attributes.get("axis", default)) % rank

    def describe(self) -> str:
        """The node in messages: "node 'conv1' (Conv)"."""
        return f"node '{self.proto.name or self.outputs[0]}' ({self.kind})"


def observe(model: onnx.ModelProto, feeds: Feeds) -> ObservedGraph:
    """Run a model with all its values as outputs.

    Args:
        model: the model, with its weights inside; it is not changed.
        feeds: input -> value.
    """
    inlined = onnx.inliner.inline_local_functions(model) if model.functions else _copy(model)
    _copy_uniform_weights(inlined)
    arrays = run_all(inlined, feeds)
    constants = {tensor.name for tensor in inlined.graph.initializer} - set(feeds)
    for node in inlined.graph.node:
        if all(name in constants for name in node.input if name) and not any(a.HasField("g") for a in node.attribute):
            constants |= set(node.output)
    return ObservedGraph(
        inlined,
        {name: array.shape for name, array in arrays.items()},
        {name: array.dtype for name, array in arrays.items()},
        {name: array for name, array in arrays.items() if array.dtype.kind in "iu"},
        frozenset(constants),
    )


def run_all(model: onnx.ModelProto, feeds: Feeds) -> dict[str, np.ndarray]:
    """Every tensor of a graph, by name."""
    shown = _copy(model)
    present = {value.name for value in shown.graph.output}
    names = [name for node in shown.graph.node for name in node.output if name and name not in present]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(shown.SerializeToString(), optimise=False)
    values = dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(feeds)), strict=True))
    values |= {tensor.name: numpy_helper.to_array(tensor) for tensor in shown.graph.initializer}
    values |= feeds
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _copy_uniform_weights(model: onnx.ModelProto) -> None:
    """Give each reader its own copy of a weight of equal numbers, in place.

    Exporters store equal tensors once, such as biases of zero. As one tensor, they would tie layers together that have
    nothing in common.
    """
    uniform = {}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim and array.size > 1 and array.dtype.kind == "f" and (array == array.flat[0]).all():
            uniform[tensor.name] = tensor
    taken = {name for node in model.graph.node for name in node.output} | {t.name for t in model.graph.initializer}
    seen: set[str] = set()
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name not in uniform:
                continue
            if name not in seen:
                seen.add(name)
                continue
            copy = onnx.TensorProto()
            copy.CopyFrom(uniform[name])
            copy.name = unused_name(name, taken)
            model.graph.initializer.append(copy)
            node.input[place] = copy.name


def unused_name(name: str, taken: set[str]) -> str:
    """A name like this one that is not taken; it is taken afterwards."""
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    taken.add(f"{name}_{number}")
    return f"{name}_{number}"
