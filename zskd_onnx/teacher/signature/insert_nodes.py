"""New nodes in a graph, for values of a final layer that the file does not compute."""

from __future__ import annotations

import onnx_ir as ir


def insert_before(node: ir.Node, inserted: ir.Node) -> ir.Value:
    """Insert a node before another, with outputs named after that one's, and return its first output."""
    for i, value in enumerate(inserted.outputs):
        value.name = f"{node.outputs[0].name}_{inserted.op_type}_{i}"
    assert node.graph is not None
    node.graph.insert_before(node, inserted)
    return inserted.outputs[0]
