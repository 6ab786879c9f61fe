"""Remove nodes, initialisers and inputs that no output needs."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common


def drop_dangling(model: ir.Model) -> None:
    """Remove unused nodes, initialisers and inputs, in place.

    Exporters leave inputs that nothing reads, for example a mask or a label.
    """
    common.RemoveUnusedNodesPass()(model)
    graph = model.graph
    for value in list(graph.inputs):
        if not value.uses() and not value.is_graph_output():
            graph.inputs.remove(value)
