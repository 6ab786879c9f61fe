"""Free a batch size that the exporter fixed."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common


def free_batch(model: ir.Model) -> None:
    """Make the first dimension of every input symbolic.

    1. ``Reshape`` to a constant shape that starts with the batch size: that entry becomes 0,
       which in ONNX means "as in the input".

    Values are checked against onnxruntime at two batch sizes afterwards, so a graph that bakes
    the batch size in elsewhere is refused there, not read wrongly.
    """
    fixed = {v: v.shape[0] for v in model.graph.inputs if v.shape is not None and len(v.shape) > 0}
    sizes = {size for size in fixed.values() if isinstance(size, int)}
    if len(sizes) != 1:
        return
    (batch,) = sizes
    common.ShapeInferencePass(check_type=False, strict_mode=False)(model)
    for node in model.graph:
        if node.op_type == "Reshape" and node.domain == "":
            _free_reshape(node, batch)
    for value in fixed:
        value.shape = ir.Shape(["batch", *value.shape[1:]])  # type: ignore[index]
    for node in model.graph:
        for value in node.outputs:
            value.shape = None


def _free_reshape(node: ir.Node, batch: int) -> None:
    data, target = node.inputs[0], node.inputs[1]
    if data is None or data.shape is None or target is None or target.const_value is None:
        return
    shape = target.const_value.numpy()
    zero_is_copy = not (node.attributes["allowzero"].value if "allowzero" in node.attributes else 0)
    if not zero_is_copy and (shape != 0).all():
        node.attributes.pop("allowzero")  # without a zero in it the attribute says nothing
        zero_is_copy = True
    if zero_is_copy and len(shape) and shape[0] == batch and len(data.shape) and data.shape[0] == batch:
        freed = np.array([0, *shape[1:]], dtype=np.int64)
        value = ir.val(f"{target.name}_free_batch_{node.outputs[0].name}", const_value=ir.tensor(freed))
        value.const_value.name = value.name  # type: ignore[union-attr]
        node.graph.register_initializer(value)  # type: ignore[union-attr]
        node.replace_input_with(1, value)
