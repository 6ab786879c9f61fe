"""Make constants of the sizes that do not depend on the batch."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

BATCH = "batch"

# A graph that shape inference cannot follow is no news: the importer names what is wrong with it.
logging.getLogger("onnx_ir.passes.common.shape_inference").setLevel(logging.CRITICAL)


def fold_shapes(model: ir.Model) -> tuple[bool, bool]:
    """Use what shape inference knows.

    1. ``Gather(Shape(x), constant)`` becomes a constant where the picked sizes are known.
    2. ``Reshape`` to a ``Concat`` of a size that is the input's own at that place, and of
       constants, becomes one to a constant: 0 stands for the input's size.

    Exporters compute paddings, and even branches, from sizes that the file itself fixes. The
    batch size never counts as known, also where the file fixes it.

    Returns:
        Whether anything was replaced, and whether another call may then find more: a size that is
        asked for is still unknown.
    """
    graph = model.graph
    if not any(node.op_type == "Shape" and node.domain == "" for node in graph):
        return False, False
    declared = {value: value.shape for value in graph.inputs if value.shape is not None and len(value.shape)}
    for value, shape in declared.items():
        value.shape = ir.Shape([BATCH, *shape[1:]])
    for node in graph:  # what the file says of its values may name one size in two ways
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    try:
        common.ShapeInferencePass(check_type=False, strict_mode=False)(model)
    except Exception:  # a help, not a need: what is really wrong shows at import
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
        elif _asks_for_unknown(node):
            unknown = True
        elif (target := _known_target(node)) is not None:
            name = f"{old.name}_shape"
            new = ir.val(name, const_value=ir.tensor(target, name=name))
            graph.register_initializer(new)
            node.replace_input_with(1, new)
            changed = True
    return changed, changed and unknown


def _asks_for_unknown(node: ir.Node) -> bool:
    """Whether a Gather picks a size from a Shape that may become known yet: one that is not the batch's."""
    picked = _picked_sizes(node)
    return picked is not None and any(not isinstance(n, int) and (n is None or n.value != BATCH) for n in picked[0])


def _known_target(node: ir.Node) -> np.ndarray | None:
    """The target of a Reshape with 0 for each size that is the input's own at that place."""
    if node.op_type != "Reshape" or node.domain != "" or "allowzero" in node.attributes:
        return None
    data, target = node.inputs
    concat = None if target is None else target.producer()
    if data is None or data.shape is None or concat is None or concat.op_type != "Concat":
        return None
    entries: list[int] = []
    for piece in concat.inputs:
        if piece is None:
            return None
        if piece.const_value is not None:
            entries.extend(piece.const_value.numpy().flatten().tolist())
            continue
        size = _measured(piece)
        place = len(entries)
        if size is None or place >= len(data.shape) or size != data.shape[place]:
            return None
        entries.append(0)
    return np.array(entries, dtype=np.int64)


def _measured(value: ir.Value) -> ir.SymbolicDim | None:
    """The symbol behind one size of a tensor: Gather(Shape(x), i), perhaps unsqueezed."""
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
    # A symbol without a name says nothing: two of them may differ.
    return size if isinstance(size, ir.SymbolicDim) and size.value is not None else None


def _known_sizes(node: ir.Node) -> np.ndarray | None:
    """What a Gather picks from a Shape, if shape inference knows all of it."""
    picked = _picked_sizes(node)
    if picked is None or not all(isinstance(size, int) for size in picked[0]):
        return None
    return np.array(picked[0], dtype=np.int64).reshape(picked[1])


def _picked_sizes(node: ir.Node) -> tuple[list[int | ir.SymbolicDim | None], tuple[int, ...]] | None:
    """The sizes that a Gather picks from a Shape, None where even the rank is unknown, and their own shape."""
    if node.op_type != "Gather" or node.domain != "" or len(node.inputs) != 2:
        return None
    data, indices = node.inputs
    producer = None if data is None else data.producer()
    if producer is None or producer.op_type != "Shape" or producer.domain != "" or producer.attributes:
        return None
    measured = producer.inputs[0]
    if indices is None or indices.const_value is None or measured is None:
        return None
    picked = indices.const_value.numpy()
    if measured.shape is None:
        return [None] * picked.size, picked.shape
    sizes = list(measured.shape)
    if picked.size == 0 or picked.min() < -len(sizes) or picked.max() >= len(sizes):
        return None
    return [sizes[int(i)] for i in picked.flatten()], picked.shape
