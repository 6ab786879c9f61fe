"""Check value names: each value is defined once, and every value that is read is defined."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.checks.walk import describe, subgraphs


def check_names(model: ModelProto) -> None:
    """Check the values of the main graph, of subgraphs and of functions.

    Raises:
        UnsupportedTeacherError: a value is defined twice or not at all, or an input and the weight
            of the same name have different shapes.
    """
    _check_graph(model.graph, frozenset())
    for function in model.functions:
        _check_function(function)


def _damaged(message: str) -> UnsupportedTeacherError:
    return UnsupportedTeacherError(f"{message}; the file is damaged, export it again")


def _check_graph(graph: GraphProto, outer: frozenset[str]) -> None:
    declared = {value.name: value for value in graph.input}
    if len(declared) < len(graph.input):
        raise _damaged("two inputs have the same name")
    weights = {tensor.name for tensor in graph.initializer}
    if len(weights) < len(graph.initializer):
        raise _damaged("two weights have the same name")
    for tensor in graph.initializer:
        if tensor.name in declared and not _same_shape(declared[tensor.name], list(tensor.dims)):
            raise _damaged(
                f"weight '{tensor.name}' of shape {list(tensor.dims)} is declared as an input of another shape"
            )
    own = weights | declared.keys()
    if own & outer:
        raise _damaged(f"a subgraph redefines value '{min(own & outer)}'")
    _check_nodes(graph.node, own, outer, [value.name for value in graph.output])


def _check_function(function: FunctionProto) -> None:
    _check_nodes(function.node, set(function.input), frozenset(), function.output)


def _check_nodes(nodes: Iterable[NodeProto], known: set[str], outer: frozenset[str], outputs: Iterable[str]) -> None:
    if "" in known:
        raise _damaged("an input or a weight has no name")
    nodes = list(nodes)
    for node in nodes:
        if not any(node.output):
            raise _damaged(f"{describe(node)}: it has no output")
        for name in filter(None, node.output):
            if name in known or name in outer:
                raise _damaged(f"{describe(node)}: value '{name}' is defined twice")
            known.add(name)
    for name in outputs:
        if name not in known and name not in outer:
            raise _damaged(f"no node computes output '{name}'")
    visible = outer | known
    for node in nodes:
        for name in filter(None, node.input):
            if name not in visible:
                raise _damaged(f"{describe(node)}: no node computes its input '{name}'")
        for body in subgraphs(node):
            _check_graph(body, visible)


def _same_shape(declared: ValueInfoProto, shape: list[int]) -> bool:
    if not declared.type.tensor_type.HasField("shape"):
        return True
    dims = declared.type.tensor_type.shape.dim
    return len(dims) == len(shape) and all(
        not dim.HasField("dim_value") or dim.dim_value == n for dim, n in zip(dims, shape, strict=True)
    )
