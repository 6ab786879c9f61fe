"""Fuse Slices that split one value, as exporters split queries, keys and values of attention."""

from __future__ import annotations

from collections import defaultdict

import onnx_ir as ir

from zskd_onnx.importer.operators.registry import OWN

END_LIMIT = 1 << 31
"""Ends of a Slice from here on mean "to the end of the axis"; such Slices are not fused."""


def fuse_slices(model: ir.Model) -> None:
    """Replace consecutive Slices along one axis, the first from 0, by one node, in place.

    The gradient of one Slice has the size of the whole value, and is zero outside the slice. The
    gradient of the fused node concatenates those of the pieces.
    """
    slices: dict[tuple[ir.Value, int], list[tuple[int, int, ir.Node]]] = defaultdict(list)
    for node in model.graph:
        if (bounds := _bounds(node)) is not None:
            value, axis, start, end = bounds
            slices[value, axis].append((start, end, node))
    for (value, axis), pieces in slices.items():
        order = {node: i for i, node in enumerate(model.graph)}
        ordered = sorted(pieces, key=lambda piece: piece[0])
        starts, ends = [start for start, _, _ in ordered], [end for _, end, _ in ordered]
        if len(ordered) < 2 or starts != [0, *ends[:-1]] or any(a >= b for a, b in zip(starts, ends, strict=True)):
            continue
        nodes = [node for _, _, node in ordered]
        sizes = [end - start for start, end, _ in ordered]
        parts = ir.node("Parts", [value], {"axis": axis, "sizes": sizes}, domain=OWN, num_outputs=len(nodes))
        parts.name = nodes[0].name
        model.graph.insert_before(min(nodes, key=order.__getitem__), parts)
        for old, new in zip((node.outputs[0] for node in nodes), parts.outputs, strict=True):
            new.name, old.name = old.name, f"{old.name}_before"
            new.shape, new.type = old.shape, old.type
            ir.convenience.replace_all_uses_with(old, new)
        for node in nodes:
            model.graph.remove(node, safe=True)


def _bounds(node: ir.Node) -> tuple[ir.Value, int, int, int] | None:
    """The value, axis, start and end of a Slice along one axis in steps of one, or None."""
    if node.op_type != "Slice" or node.domain != "" or len(node.inputs) < 4 or node.outputs[0].is_graph_output():
        return None
    value, *constants = node.inputs
    numbers = [
        None if v is None or v.const_value is None else v.const_value.numpy().flatten().tolist() for v in constants
    ]
    if value is None or value.const_value is not None or any(n is None or len(n) != 1 for n in numbers):
        return None
    start, end, axis, *step = (n[0] for n in numbers if n is not None)
    return (value, axis, start, end) if 0 <= start < end < END_LIMIT and step in ([], [1]) else None
