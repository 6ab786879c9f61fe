"""Values: each is made once, and everything that is used is made."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.checks.walk import describe, subgraphs


def check_names(model: ModelProto) -> None:
    """Check what each graph's values hang on.

    Raises:
        UnsupportedTeacherError: a value is made twice or not at all, or an input that doubles as a
            weight is declared with another shape than the weight has.
    """
    _check_graph(model.graph, frozenset())
    for function in model.functions:
        _check_function(function)


def _damaged(message: str) -> UnsupportedTeacherError:
    return UnsupportedTeacherError(f"{message}; the file is damaged, export it again")


def _check_graph(graph: GraphProto, outer: frozenset[str]) -> None:
    declared = {value.name: value for value in graph.input}
    if len(declared) < len(graph.input):
        raise _damaged("two inputs have one name")
    weights = {tensor.name for tensor in graph.initializer}
    if len(weights) < len(graph.initializer):
        raise _damaged("two weights have one name")
    for tensor in graph.initializer:
        if tensor.name in declared and not _agree(declared[tensor.name], list(tensor.dims)):
            raise _damaged(f"weight '{tensor.name}' of shape {list(tensor.dims)} is declared with another shape")
    own = weights | declared.keys()
    if own & outer:
        raise _damaged(f"value '{min(own & outer)}' is made again in a body")
    _check_nodes(graph.node, own, outer, [value.name for value in graph.output])


def _check_function(function: FunctionProto) -> None:
    _check_nodes(function.node, set(function.input), frozenset(), function.output)


def _check_nodes(nodes: Iterable[NodeProto], known: set[str], outer: frozenset[str], outputs: Iterable[str]) -> None:
    if "" in known:
        raise _damaged("an input or a weight has no name")
    nodes = list(nodes)
    for node in nodes:
        if not any(node.output):
            raise _damaged(f"{describe(node)}: it makes nothing")
        for name in filter(None, node.output):
            if name in known or name in outer:
                raise _damaged(f"{describe(node)}: value '{name}' is made twice")
            known.add(name)
    for name in outputs:
        if name not in known and name not in outer:
            raise _damaged(f"output '{name}' is made by nothing")
    visible = outer | known
    for node in nodes:
        for name in filter(None, node.input):
            if name not in visible:
                raise _damaged(f"{describe(node)}: its input '{name}' is made by nothing")
        for body in subgraphs(node):
            _check_graph(body, visible)


def _agree(declared: ValueInfoProto, shape: list[int]) -> bool:
    if not declared.type.tensor_type.HasField("shape"):
        return True
    dims = declared.type.tensor_type.shape.dim
    return len(dims) == len(shape) and all(
        not dim.HasField("dim_value") or dim.dim_value == n for dim, n in zip(dims, shape, strict=True)
    )
