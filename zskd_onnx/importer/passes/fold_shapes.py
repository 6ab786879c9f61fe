"""Replace sizes that do not depend on the batch by constants."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

BATCH = "batch"
"""Symbol for the first size of every input while shapes are inferred."""

CONTROL_FLOW = ("If", "Loop")
"""Operators with nodes inside that shape inference does not show until they are inlined."""

Size = int | ir.SymbolicDim | None

# Shape inference warns about graphs that it cannot follow. The import reports what is really wrong.
logging.getLogger("onnx_ir.passes.common.shape_inference").setLevel(logging.CRITICAL)


def fold_shapes(model: ir.Model) -> tuple[bool, bool]:
    """Replace shape computations by constants where shape inference knows the sizes, in place.

    1. ``Gather(Shape(x), constant)``, a ``Slice`` of a Shape and a Shape with a start or an end become
       constants if all their sizes are known; ``Size(Shape(x))`` if the rank is known.
    2. ``Reshape`` to a ``Concat`` becomes a Reshape to a constant, if each part of the Concat is
       a constant or the input's own size at that position. 0 stands for the input's size.

    Exporters compute paddings, and even branches, from sizes that the file itself fixes. The
    batch size is treated as unknown, even if the file fixes it.

    Returns:
        Whether anything was replaced, and whether another call may replace more, because a size is
        still unknown, or hidden in a branch whose condition may now be constant.
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
    changed, unknown = False, any(node.op_type in CONTROL_FLOW for node in graph)
    for node in list(graph):
        old = node.outputs[0]
        if (sizes := _known_sizes(node)) is not None and not old.is_graph_output():
            new = ir.val(old.name, const_value=ir.tensor(sizes, name=old.name))
            ir.convenience.replace_all_uses_with(old, new)
            graph.register_initializer(new)
            graph.remove(node)
            changed = True
        elif _reads_unknown(node):
            unknown = True
        elif (target := _constant_target(node)) is not None:
            name = f"{old.name}_shape"
            new = ir.val(name, const_value=ir.tensor(target, name=name))
            graph.register_initializer(new)
            node.replace_input_with(1, new)
            changed = True
    return changed, changed and unknown


def _reads_unknown(node: ir.Node) -> bool:
    """Whether a node reads an unknown size, other than the batch's, from a shape."""
    read = _read_sizes(node)
    return read is not None and any(not isinstance(n, int) and (n is None or n.value != BATCH) for n in read[0])


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
    """The sizes that a node reads from a shape, or None unless all are known."""
    read = _read_sizes(node)
    if read is None or not all(isinstance(size, int) for size in read[0]):
        return None
    return np.array(read[0], dtype=np.int64).reshape(read[1])


def _read_sizes(node: ir.Node) -> tuple[list[Size], tuple[int, ...]] | None:
    """The sizes that a Gather, a Slice, a Size or a partial Shape reads, and the shape of the node's result.

    A size is None if even the rank is unknown. Returns None for any other node.
    """
    if node.domain != "" or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type == "Shape" and node.attributes:
        start, end = (node.attributes[key].as_int() if key in node.attributes else None for key in ("start", "end"))
        return _part(node.inputs[0], slice(start, end))
    producer = node.inputs[0].producer()
    if producer is None or producer.op_type != "Shape" or producer.domain != "" or producer.attributes:
        return None
    source = producer.inputs[0]
    if source is None:
        return None
    if node.op_type == "Size":
        return [None if source.shape is None else len(source.shape)], ()
    if node.op_type == "Slice":
        bounds = _slice_bounds(node)
        return None if bounds is None else _part(source, bounds)
    if node.op_type != "Gather" or node.inputs[1] is None or node.inputs[1].const_value is None:
        return None
    positions = node.inputs[1].const_value.numpy()
    if source.shape is None:
        return [None] * positions.size, positions.shape
    sizes = list(source.shape)
    if positions.size == 0 or positions.min() < -len(sizes) or positions.max() >= len(sizes):
        return None
    return [sizes[int(i)] for i in positions.flatten()], positions.shape


def _part(source: ir.Value, bounds: slice) -> tuple[list[Size], tuple[int, ...]]:
    """Some of the sizes of a value, and how many they are."""
    sizes: list[Size] = [None] if source.shape is None else [*source.shape][bounds]
    return sizes, (len(sizes),)


def _slice_bounds(node: ir.Node) -> slice | None:
    """The bounds of a Slice of a vector, or None if they are no constants."""
    numbers: dict[str, int] = {}
    for i, key in enumerate(("starts", "ends", "axes", "steps"), 1):
        if key in node.attributes:  # before opset 10
            values = list(node.attributes[key].as_ints())
        elif i < len(node.inputs) and (value := node.inputs[i]) is not None:
            values = [] if value.const_value is None else value.const_value.numpy().flatten().tolist()
        else:
            continue
        if len(values) != 1:
            return None
        numbers[key] = int(values[0])
    if not {"starts", "ends"} <= numbers.keys() or numbers.get("steps") == 0:
        return None
    return slice(numbers["starts"], numbers["ends"], numbers.get("steps"))
