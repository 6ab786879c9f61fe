"""What the passes that fuse nodes share: looking behind a value, and putting one node in place of several."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


def maker(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node of a kind that makes a value for one reader alone, so that it may go."""
    node = None if value is None else value.producer()
    if value is None or node is None or node.domain != "" or node.op_type != op_type:
        return None
    return node if len(list(value.uses())) == 1 and not value.is_graph_output() else None


def operands(node: ir.Node) -> list[tuple[ir.Value | None, ir.Value | None]]:
    """Both orders of a commutative node's inputs."""
    first, second = node.inputs
    return [(first, second), (second, first)]


def number(value: ir.Value | None) -> float | None:
    """The one floating-point number that a constant holds."""
    held = None if value is None else value.const_value
    if held is None or held.size != 1 or len(held.shape) > 1 or not held.dtype.is_floating_point():
        return None
    return float(held.numpy().item())


def replace(node: ir.Node, domain: str, op_type: str, inputs: Sequence[ir.Value | None], **attributes: float) -> None:
    """Let a new node make what a node makes, unless that is an output: those are known by their value."""
    graph, old = node.graph, node.outputs[0]
    assert isinstance(graph, ir.Graph)
    if old.is_graph_output():
        return
    new = ir.node(op_type, inputs, attributes, domain=domain, name=node.name)
    new.outputs[0].name = old.name
    new.outputs[0].shape, new.outputs[0].type = old.shape, old.type
    graph.insert_after(node, new)
    ir.convenience.replace_all_uses_with(old, new.outputs[0])
    graph.remove(node)
