"""Matrix products."""

from __future__ import annotations

from zskd_onnx.students.thinning.axes.pointwise import join_broadcast
from zskd_onnx.students.thinning.axes.rule import axis_rule, barrier, join_axes
from zskd_onnx.students.thinning.channels import Channels, Reader
from zskd_onnx.students.thinning.observed_graph import Node


@axis_rule("Gemm")
def connect_gemm(node: Node, channels: Channels) -> None:
    """A (M, F) or transposed, B (F, K) or transposed, C that broadcasts to (M, K)."""
    a, b, *c = node.inputs
    transposed_a, transposed_b = (int(node.attributes.get(name, 0)) for name in ("transA", "transB"))
    y = node.outputs[0]
    join_axes(channels, (a, 1 - transposed_a), (b, transposed_b))
    join_axes(channels, (y, 0), (a, transposed_a))
    join_axes(channels, (y, 1), (b, 1 - transposed_b))
    channels.readers.append(Reader(node.index, 1, transposed_b))
    channels.produce(channels.ids(b, 1 - transposed_b), node.index)
    for name in c:
        if name:
            join_broadcast(channels, (name, node.shape(name)), (y, node.shape(y)))


@axis_rule("MatMul")
def connect_matmul(node: Node, channels: Channels) -> None:
    """A (..., n, k), B (..., k, m), y (..., n, m)."""
    a, b = node.inputs
    y = node.outputs[0]
    of_a, of_b, of_y = (node.shape(name) for name in (a, b, y))
    if len(of_a) < 2 or len(of_b) < 2:
        barrier(node, channels)
        return
    join_axes(channels, (a, len(of_a) - 1), (b, len(of_b) - 2))
    join_axes(channels, (y, len(of_y) - 2), (a, len(of_a) - 2))
    join_axes(channels, (y, len(of_y) - 1), (b, len(of_b) - 1))
    for name, shape in ((a, of_a), (b, of_b)):
        join_broadcast(channels, (name, shape[:-2]), (y, of_y[:-2]))
    constants = [name in node.graph.constants for name in (a, b)]
    channels.readers.append(
        Reader(node.index, 0, len(of_a) - 1) if constants[0] else Reader(node.index, 1, len(of_b) - 2)
    )
    if constants[1]:
        channels.produce(channels.ids(b, len(of_b) - 1), node.index)
    if constants[0]:
        channels.produce(channels.ids(a, len(of_a) - 2), node.index)
