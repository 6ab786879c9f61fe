"""Replace sizes that do not depend on the batch by constants."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

BATCH = "batch"
"""Symbol for the first size of every input while shapes are inferred."""

# Shape inference warns about graphs that it cannot follow. The import reports what is really wrong.
logging.getLogger("onnx_ir.passes.common.shape_inference").setLevel(logging.CRITICAL)


def fold_shapes(model: ir.Model) -> tuple[bool, bool]:
    """Replace shape computations by constants where shape inference knows the sizes, in place.

    1. ``Gather(Shape(x), constant)`` becomes a constant if all gathered sizes are known.
    2. ``Reshape`` to a ``Concat`` becomes a Reshape to a constant, if each part of the Concat is
       a constant or the input's own size at that position. 0 stands for the input's size.

    Exporters compute paddings, and even branches, from sizes that the file itself fixes. The
    batch size is treated as unknown, even if the file fixes it.

    Returns:
        Whether anything was replaced, and whether another call may replace more, because a
        gathered size is still unknown.
    """
    graph = model.graph
    if not any(node.op_type == "Shape" and node.domain == "" for node in graph):
        return False, False
    declared = {value: value.shape for value in graph.inputs if value.shape is not None and len(value.shape)}
    for value, shape in declared.items():
        value.shape = ir.Shape([BATCH, *shape[1:]])
    for node in graph:  # shapes in the file may have two names for one size
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    try:
        common.ShapeInferencePass(check_type=False, strict_mode=False)(model)
    except Exception:  # this pass is optional; the import reports what is really wrong
        return False, False
    finally:
        for value, shape in declared.items():
            value.shape = shape
    changed = unknown = False
    for node in list(graph):
        old = node.outputs[0]
        if (sizes := _known_sizes(node)) is not None and not old.is_graph_output():
            new = ir.val(old.name, const_value=ir.tensor(sizes, name=old.name))
            ir.convenience.replace_all_uses_with(old, new)
            graph.register_initializer(new)
            graph.remove(node)
            changed = True
        elif _gathers_unknown(node):
            unknown = True
        elif (target := _constant_target(node)) is not None:
            name = f"{old.name}_shape"
            new = ir.val(name, const_value=ir.tensor(target, name=name))
            graph.register_initializer(new)
            node.replace_input_with(1, new)
            changed = True
    return changed, changed and unknown


def _gathers_unknown(node: ir.Node) -> bool:
    """Whether a Gather reads an unknown size, other than the batch's, from a Shape."""
    gathered = _gathered_sizes(node)
    return gathered is not None and any(not isinstance(n, int) and (n is None or n.value != BATCH) for n in gathered[0])


def _constant_target(node: ir.Node) -> np.ndarray | None:
    """The target of a Reshape as a constant, with 0 for the input's own sizes; None if there is none."""
    if node.op_type != "Reshape" or node.domain != "" or "allowzero" in node.attributes:
        return None
    data, target = node.inputs
    concat = None if target is None else target.producer()
    if data is None or data.shape is None or concat is None or concat.op_type != "Concat":
        return None
    entries: list[int] = []
    for part in concat.inputs:
        if part is None:
            return None
        if part.const_value is not None:
            entries.extend(part.const_value.numpy().flatten().tolist())
            continue
        size = _symbolic_size(part)
        position = len(entries)
        if size is None or position >= len(data.shape) or size != data.shape[position]:
            return None
        entries.append(0)
    return np.array(entries, dtype=np.int64)


def _symbolic_size(value: ir.Value) -> ir.SymbolicDim | None:
    """The symbol of the size that Gather(Shape(x), i) reads, also behind an Unsqueeze, or None."""
    node = value.producer()
    if node is not None and node.op_type == "Unsqueeze" and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Gather" or node.inputs[0] is None or node.inputs[1] is None:
        return None
    producer, index = node.inputs[0].producer(), node.inputs[1].const_value
    if producer is None or producer.op_type != "Shape" or producer.attributes or producer.inputs[0] is None:
        return None
    shape = producer.inputs[0].shape
    if shape is None or index is None or index.size != 1:
        return None
    size = shape[int(index.numpy().flatten()[0])]
    # Two symbols without a name may be different sizes.
    return size if isinstance(size, ir.SymbolicDim) and size.value is not None else None


def _known_sizes(node: ir.Node) -> np.ndarray | None:
    """The sizes that a Gather reads from a Shape, or None unless all are known."""
    gathered = _gathered_sizes(node)
    if gathered is None or not all(isinstance(size, int) for size in gathered[0]):
        return None
    return np.array(gathered[0], dtype=np.int64).reshape(gathered[1])


def _gathered_sizes(node: ir.Node) -> tuple[list[int | ir.SymbolicDim | None], tuple[int, ...]] | None:
    """The sizes that a Gather reads from a Shape, and the shape of the Gather's indices.

    A size is None if even the rank is unknown. Returns None for any other node.
    """
    if node.op_type != "Gather" or node.domain != "" or len(node.inputs) != 2:
        return None
    data, indices = node.inputs
    producer = None if data is None else data.producer()
    if producer is None or producer.op_type != "Shape" or producer.domain != "" or producer.attributes:
        return None
    source = producer.inputs[0]
    if indices is None or indices.const_value is None or source is None:
        return None
    positions = indices.const_value.numpy()
    if source.shape is None:
        return [None] * positions.size, positions.shape
    sizes = list(source.shape)
    if positions.size == 0 or positions.min() < -len(sizes) or positions.max() >= len(sizes):
        return None
    return [sizes[int(i)] for i in positions.flatten()], positions.shape
