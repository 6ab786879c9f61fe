"""Proof that a thinned graph computes what the full graph computes without the removed channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.students.thinning.channels import Reader
from zskd_onnx.students.thinning.groups import ChannelGroups
from zskd_onnx.students.thinning.observed_graph import Feeds, Node
from zskd_onnx.system.onnx_runtime import open_session

TOLERANCE = 1e-4
"""Largest difference, relative to the largest value of the output."""


def prove(groups: ChannelGroups, removed: set[int], thinned: onnx.ModelProto, batches: Sequence[Feeds]) -> float:
    """The largest relative difference between a thinned graph and ``silence``, in onnxruntime.

    Args:
        removed: channels that the thinned graph lacks.
        thinned: the result of ``remove``.
        batches: inputs, one batch each.

    Raises:
        UnsupportedTeacherError: onnxruntime does not run the thinned graph, or its outputs differ.
    """
    names = ", ".join(group.name for group in groups.groups if removed & set(group.channels))
    expected = open_session(silence(groups, removed).SerializeToString())
    try:
        session = open_session(thinned.SerializeToString())
        outputs = [session.run(None, dict(feeds)) for feeds in batches]
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedTeacherError(f"the graph cannot be thinned in the groups {names}: {reason}") from error
    worst = 0.0
    for feeds, values in zip(batches, outputs, strict=True):
        for value, reference in zip(values, expected.run(None, dict(feeds)), strict=True):
            if isinstance(reference, np.ndarray) and reference.dtype.kind == "f":
                worst = max(worst, _difference(value, reference))
    if not worst <= TOLERANCE:
        raise UnsupportedTeacherError(
            f"the graph cannot be thinned in the groups {names}: without these channels its outputs differ by {worst:.1e} "
            f"of their size, expected {TOLERANCE:.0e}; leave groups out"
        )
    return worst


def _difference(value: np.ndarray, reference: np.ndarray) -> float:
    if value.shape != reference.shape:
        return float("inf")
    first, second = value.astype(np.float64), reference.astype(np.float64)
    return float(np.abs(first - second).max() / max(np.abs(second).max(), 1e-12))


def silence(groups: ChannelGroups, removed: set[int]) -> onnx.ModelProto:
    """The full graph in which nothing reads the removed channels.

    Weights that multiply them are set to zero. A mean over channels, and the statistics of a layer normalisation, are those
    of the remaining channels.
    """
    model = onnx.ModelProto()
    model.CopyFrom(groups.graph.proto)
    masks = groups.masks(removed)
    before: dict[int, list[onnx.NodeProto]] = {}
    after: dict[int, list[onnx.NodeProto]] = {}
    for number, reader in enumerate(groups.readers):
        node = groups.graph.nodes[reader.node]
        mask = masks.get((node.inputs[reader.input], reader.axis))
        if mask is None:
            continue
        silencer = _Silencer(model, node, reader, mask, f"silenced_{number}")
        if "Normalization" in node.kind:
            silencer.normalise()
        else:
            silencer.multiply()
        before.setdefault(reader.node, []).extend(silencer.before)
        after.setdefault(reader.node, []).extend(silencer.after)
    nodes = [
        new
        for i, node in enumerate(list(model.graph.node))
        for new in (*before.get(i, ()), node, *after.get(i, ())[::-1])
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    return model


class _Silencer:
    """Nodes that keep one reader from seeing the removed channels."""

    def __init__(self, model: onnx.ModelProto, node: Node, reader: Reader, mask: np.ndarray, name: str) -> None:
        self.model, self.node, self.reader, self.mask, self.name = model, node, reader, mask, name
        self.proto = model.graph.node[reader.node]
        self.value = self.proto.input[reader.input]
        original = node.inputs[reader.input]
        self.rank, self.type = len(node.shape(original)), node.graph.types[original]
        self.before: list[onnx.NodeProto] = []
        self.after: list[onnx.NodeProto] = []

    def constant(self, name: str, array: np.ndarray) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(array, f"{self.name}_{name}"))
        return f"{self.name}_{name}"

    def multiply(self) -> None:
        """Multiply the input by 0 in the removed channels, and a mean by what it lacks."""
        shape = [1] * self.rank
        shape[self.reader.axis] = -1
        factors = self.constant("mask", self.mask.reshape(shape).astype(self.type))
        self.before = [helper.make_node("Mul", [self.value, factors], [self.name])]
        self.proto.input[self.reader.input] = self.name
        if self.reader.mean:
            ratio = self.constant("ratio", np.array(self.mask.size / self.mask.sum(), dtype=self.type))
            output = self.proto.output[0]
            self.proto.output[0] = f"{self.name}_mean"
            self.after = [helper.make_node("Mul", [f"{self.name}_mean", ratio], [output])]

    def normalise(self) -> None:
        """Normalise the remaining channels alone, and put zeros in place of the others."""
        remaining = self.constant("remaining", np.flatnonzero(self.mask))
        for place, value in enumerate(self.proto.input):
            if value:
                cut = f"{self.name}_{place}"
                self.before.append(helper.make_node("Gather", [value, remaining], [cut], axis=-1))
                self.proto.input[place] = cut
        spread = self.constant("spread", np.eye(len(self.mask), dtype=self.type)[self.mask])
        output = self.proto.output[0]
        self.proto.output[0] = f"{self.name}_normalised"
        self.after = [helper.make_node("MatMul", [f"{self.name}_normalised", spread], [output])]
