"""Blocks of a thinned graph whose outputs correspond to the teacher's, channel for channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx

from zskd_onnx.importer.fx_graph import computed_inputs, give, join, only_reader, operator_name, outputs_of, shape_of
from zskd_onnx.students.onnx_student import OnnxStudent
from zskd_onnx.teacher.probes.operator_families import ACTIVATIONS
from zskd_onnx.teacher.probes.outputs import Outputs
from zskd_onnx.teacher.probes.probe import Probe
from zskd_onnx.teacher.teacher import Teacher

Remaining = Mapping[str, tuple[int, Tensor]]
"""Value -> axis, and indices of the teacher's channels that the student has."""


class BlockProbe:
    """A teacher that also returns the outputs of its blocks, cut to the channels of a thinned student.

    Attributes:
        values: names of the outputs, in graph order.
    """

    def __init__(self, teacher: Teacher, remaining: Remaining) -> None:
        graph = teacher.graph()
        nodes = block_outputs(graph)
        self.values = [str(node.meta["value"]) for node in nodes]
        self._probe = Probe(teacher, graph, nodes)
        device = next((tensor.device for tensor in teacher.buffers()), None)
        whole = (0, None)
        self._remaining = [
            (axis, None if indices is None else indices.to(device))
            for axis, indices in (remaining.get(value, whole) for value in self.values)
        ]

    def __call__(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits (N, K) and the blocks' outputs, for inputs as the file takes them."""
        logits, values = self._probe(inputs)
        cut = (_cut(value, axis, indices) for value, (axis, indices) in zip(values, self._remaining, strict=True))
        return logits, tuple(cut)


def _cut(value: Tensor, axis: int, indices: Tensor | None) -> Tensor:
    """Some channels of a value; an activation map of images stays channels last, as the student's is."""
    if indices is None:
        return value
    if axis == 1 and value.ndim == 4:
        return value.permute(0, 2, 3, 1).index_select(3, indices).permute(0, 3, 1, 2)
    return value.index_select(axis, indices)


class BlockRecorder:
    """Runs a student that is an ONNX graph, and returns its logits and the outputs of its blocks."""

    def __init__(self, student: OnnxStudent, values: Sequence[str], sample: Tensor) -> None:
        """
        Args:
            values: names of the outputs.
            sample: one sample (1, *shape) of the unit space, on the student's device.
        """
        self._student = student
        with torch.no_grad():
            self._graph = join([student.scores], student.domain.to_file(sample))
        by_name = {node.meta.get("value"): node for node in self._graph.graph.nodes}
        give(self._graph, [outputs_of(self._graph)[0], *(by_name[value] for value in values)])

    def __call__(self, x: Tensor) -> Outputs:
        """Logits and blocks for samples (N, *shape) of the unit space."""
        scores, *blocks = self._graph(self._student.domain.to_file(x))
        return Outputs(self._student.logits_of(scores), blocks=tuple(blocks))


def block_outputs(graph: fx.GraphModule) -> list[fx.Node]:
    """The outputs of a graph's blocks: sums of two computed tensors, or activations where there are no such sums.

    The activation behind a sum belongs to it.
    """
    nodes = [node for node in graph.graph.nodes if "value" in node.meta and len(shape_of(node) or ()) > 2]
    sums = [node for node in nodes if operator_name(node) == "Add" and _adds_two(node)]
    ends = [
        reader if (reader := only_reader(node)) is not None and operator_name(reader) in ACTIVATIONS else node
        for node in sums
    ]
    return ends or [node for node in nodes if operator_name(node) in ACTIVATIONS]


def _adds_two(node: fx.Node) -> bool:
    return len(computed_inputs(node)) == 2 and all(shape_of(n) == shape_of(node) for n in computed_inputs(node))
