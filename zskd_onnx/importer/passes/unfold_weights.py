"""Put nodes back that compute with weights, so that training changes the file's own tensors."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from zskd_onnx.importer.passes.fold_constants import FOLDED
from zskd_onnx.importer.passes.single_precision import widen_attributes, widen_constant


def unfold_weights(model: ir.Model, weights: Collection[ir.Value]) -> None:
    """Undo ``fold_constants`` where its result depends on a weight, in place.

    A weight that two nodes read, one of them transposed, so stays one tensor. Nodes that are put back
    compute in float32, as ``single_precision`` has it for the others.

    Args:
        model: a model that ``clean`` has prepared with ``trainable=True``.
        weights: constants that training changes.
    """
    graph, folded = model.graph, model.meta[FOLDED]
    first = graph[0]
    variable = set(weights)
    for value in variable:
        widen_constant(value)
    for constant, computed in list(folded.items()):
        node = computed.producer()
        if not any(value in variable for value in node.inputs):
            continue
        del folded[constant]
        variable.add(computed)
        ir.convenience.replace_all_uses_with(constant, computed)
        graph.initializers.pop(constant.name, None)
        if node.graph is None:
            graph.insert_before(first, node)
            widen_attributes(node)
            for value in node.inputs:
                if value is not None:
                    widen_constant(value)
