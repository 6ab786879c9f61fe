"""Remove what no output needs: nodes, initialisers, inputs."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common


def drop_dangling(model: ir.Model) -> None:
    """Exporters leave inputs that nothing reads (a mask, a label); they are no part of a teacher."""
    common.RemoveUnusedNodesPass()(model)
    graph = model.graph
    for value in list(graph.inputs):
        if not value.uses() and not value.is_graph_output():
            graph.inputs.remove(value)
