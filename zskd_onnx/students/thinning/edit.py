"""Edits of a graph from which channels are removed."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from zskd_onnx.students.thinning.observed_graph import CONSTANT, Node, ObservedGraph, unused_name

Masks = Mapping[tuple[str, int], np.ndarray]
"""(value, axis) -> which of its positions remain; axes that stay whole are left out."""

ARITHMETIC = {"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.floordiv}
"""Operator -> the same for Python's integers that are not negative."""

PASSES_INTEGERS = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")
"""Operators whose output has the numbers of their first input, in order."""


class Edit:
    """A copy of a graph in which weights and nodes are adapted to the channels that remain.

    Attributes:
        model: the copy.
    """

    def __init__(self, graph: ObservedGraph, masks: Masks) -> None:
        self.graph = graph
        self.masks = masks
        self.model = onnx.ModelProto()
        self.model.CopyFrom(graph.proto)
        self._initializers = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._taken = set(graph.shapes) | {name for node in graph.nodes for name in node.outputs}

    def mask(self, value: str, axis: int) -> np.ndarray:
        """Which positions of an axis remain."""
        mask = self.masks.get((value, axis))
        return np.ones(self.graph.shapes[value][axis], dtype=bool) if mask is None else mask

    def size(self, value: str, axis: int) -> int:
        """The number of positions of an axis that remain."""
        return int(self.mask(value, axis).sum())

    def set_attribute(self, node: Node, name: str, value: Any) -> None:
        """Set an attribute of a node."""
        self.remove_attribute(node, name)
        self.model.graph.node[node.index].attribute.append(onnx.helper.make_attribute(name, value))

    def remove_attribute(self, node: Node, name: str) -> None:
        """Remove an attribute, if the node has it."""
        attributes = self.model.graph.node[node.index].attribute
        for attribute in [a for a in attributes if a.name == name]:
            attributes.remove(attribute)

    def set_sizes(self, node: Node, position: int, value: str, leave: Sequence[int] = ()) -> None:
        """Set an input that names a shape to what remains of a value, but for entries that are in ``leave``."""
        sizes = self.graph.integers[node.inputs[position]].reshape(-1)
        shift = len(self.graph.shapes[value]) - len(sizes)
        changes = {i: self.size(value, i + shift) for i, size in enumerate(sizes.tolist()) if size not in leave}
        self.set_integers(node, position, changes)

    def set_integers(self, node: Node, position: int, changes: Mapping[int, int]) -> None:
        """Set numbers of an input that is a list of integers.

        Numbers that the graph computes from shapes mostly follow these by themselves. Those that do not become constants:
        the bounds of equal chunks (``torch.chunk``), of which some keep more channels than others, and the width of a
        value that is read from the shape of another one.
        """
        name = node.inputs[position]
        content = self.graph.integers[name].reshape(-1)
        producer = self.graph.producers.get(name)
        array = self.graph.integers[name].copy()
        array.reshape(-1)[list(changes)] = list(changes.values())
        if producer is None or producer.kind == CONSTANT:
            if (array.reshape(-1) != content).any():
                self._replace(node, position, array, producer)
        elif producer.kind in PASSES_INTEGERS:
            self.set_integers(producer, 0, changes)
        elif producer.kind == "Concat":
            begin = 0
            for place, part in enumerate(producer.inputs):
                length = self.graph.integers[part].size
                inside = {i - begin: size for i, size in changes.items() if begin <= i < begin + length}
                self.set_integers(producer, place, inside)
                begin += length
        elif changes and array.size == 1 and self._computed(name) not in (None, int(array.item())):
            self.model.graph.node[node.index].input[position] = self._add_initializer(name, array)

    def _computed(self, name: str) -> int | None:
        """The number that the graph without the channels computes for a value of one integer; None where it is not known."""
        producer = self.graph.producers.get(name)
        if name not in self.graph.integers or self.graph.integers[name].size != 1:
            return None
        if producer is None or producer.kind == CONSTANT:
            return int(self.graph.integers[name].item())
        if producer.kind in PASSES_INTEGERS:
            return self._computed(producer.inputs[0])
        if producer.kind in ARITHMETIC:
            numbers = [self._computed(value) for value in producer.inputs]
            if all(number is not None and number >= 0 for number in numbers) and (producer.kind != "Div" or numbers[1]):
                return ARITHMETIC[producer.kind](*numbers)
        shape = self.graph.producers.get(producer.inputs[0]) if producer.kind == "Gather" else None
        place = self._computed(producer.inputs[1]) if shape is not None and shape.kind == "Shape" else None
        return None if shape is None or place is None else self.size(shape.inputs[0], place)

    def add_integers(self, node: Node, position: int, values: Sequence[int]) -> None:
        """Give a node an input with these integers."""
        inputs = self.model.graph.node[node.index].input
        inputs.extend([""] * (position + 1 - len(inputs)))
        inputs[position] = self._add_initializer(f"{node.outputs[0]}_sizes", np.array(values, dtype=np.int64))

    def cut_constants(self, weights: Mapping[str, np.ndarray]) -> None:
        """Remove channels from all weights, and from the shapes that the graph declares.

        Args:
            weights: initialiser -> new content, where it changes.
        """
        for tensor in self._initializers.values():
            new = weights.get(tensor.name)
            array = numpy_helper.to_array(tensor) if new is None else new
            cut = self._cut(tensor.name, array)
            if cut is not None or new is not None:
                tensor.CopyFrom(numpy_helper.from_array(array if cut is None else cut, tensor.name))
        for node in self.graph.nodes:
            if node.kind == CONSTANT and "value" in node.attributes:
                cut = self._cut(node.outputs[0], numpy_helper.to_array(node.attributes["value"]))
                if cut is not None:
                    self.set_attribute(node, "value", numpy_helper.from_array(cut))
        for value in (*self.model.graph.value_info, *self.model.graph.input):
            for axis, size in enumerate(value.type.tensor_type.shape.dim):
                if size.HasField("dim_value") and (value.name, axis) in self.masks:
                    size.dim_value = self.size(value.name, axis)

    def _cut(self, name: str, array: np.ndarray) -> np.ndarray | None:
        axes = [axis for axis in range(array.ndim) if (name, axis) in self.masks]
        for axis in axes:
            array = np.compress(self.masks[name, axis], array, axis)
        return np.ascontiguousarray(array) if axes else None

    def _replace(self, node: Node, position: int, array: np.ndarray, constant: Node | None) -> None:
        """Replace a constant input of a node, in a copy where other nodes read it too."""
        name = node.inputs[position]
        if len(self.graph.readers[name]) > 1:
            self.model.graph.node[node.index].input[position] = self._add_initializer(name, array)
        elif constant is None:
            self._initializers[name].CopyFrom(numpy_helper.from_array(array, name))
        else:
            for key in constant.attributes:
                self.remove_attribute(constant, key)
            self.set_attribute(constant, "value", numpy_helper.from_array(array))

    def _add_initializer(self, name: str, array: np.ndarray) -> str:
        name = unused_name(name, self._taken)
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name
