"""Match and replace patterns of nodes; shared by the passes that fuse them."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


def exclusive_producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that computes a value, if it is of a given operator and the value has one reader.

    The caller may then replace the node together with that reader. Returns None otherwise.
    """
    node = None if value is None else value.producer()
    if value is None or node is None or node.domain != "" or node.op_type != op_type:
        return None
    return node if len(list(value.uses())) == 1 and not value.is_graph_output() else None


def operand_orders(node: ir.Node) -> list[tuple[ir.Value | None, ir.Value | None]]:
    """Both orders of the two inputs of a commutative node."""
    first, second = node.inputs
    return [(first, second), (second, first)]


def scalar_of(value: ir.Value | None) -> float | None:
    """The number in a floating-point constant of one element, or None."""
    constant = None if value is None else value.const_value
    if constant is None or constant.size != 1 or len(constant.shape) > 1 or not constant.dtype.is_floating_point():
        return None
    return float(constant.numpy().item())


def replace(node: ir.Node, domain: str, op_type: str, inputs: Sequence[ir.Value | None], **attributes: float) -> None:
    """Replace a node by a new one that computes the same value, in place.

    Nothing changes if that value is an output of the graph, because callers hold those as objects.
    """
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
