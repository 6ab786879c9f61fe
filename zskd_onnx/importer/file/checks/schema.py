"""Check each node against the schema of its operator."""

from __future__ import annotations

import onnx
from onnx import GraphProto, ModelProto, NodeProto
from onnx.checker import C, ValidationError, check_node

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.checks.walk import all_graphs, describe, subgraphs
from zskd_onnx.importer.operators.registry import registered

_KNOWN = {(domain, name) for domain, name, _ in registered()} | {("", name) for name in ("If", "Loop", "Scan")}
_EMPTY = GraphProto(name="body")


def check_nodes(model: ModelProto) -> None:
    """Check the number of inputs and outputs, and the names and types of attributes.

    Later code may then use ``node.inputs[1]`` and ``attributes["axis"]`` as the schema guarantees
    them. Operators that the importer does not know at any version are not checked here.

    Raises:
        UnsupportedTeacherError: a node does not match its schema; the message names it.
    """
    for function in model.functions:
        context = _context(model, {o.domain: o.version for o in function.opset_import})
        for node in function.node:
            _check(node, context)
    context = _context(model, {o.domain: o.version for o in model.opset_import})
    for graph in all_graphs(model):
        for node in graph.node:
            _check(node, context)


def _context(model: ModelProto, opsets: dict[str, int]) -> C.CheckerContext:
    context = C.CheckerContext()
    context.ir_version = model.ir_version
    context.opset_imports = {"" if domain == "ai.onnx" else domain: version for domain, version in opsets.items()}
    return context


def _check(node: NodeProto, context: C.CheckerContext) -> None:
    if not _has_schema(node, context.opset_imports):
        return
    _check_bodies(node)
    if any(True for _ in subgraphs(node)):
        node = _without_bodies(node)
    try:
        check_node(node, context)
    except ValidationError as error:
        reason = str(error).strip().split("\n", 1)[0][:300]
        raise UnsupportedTeacherError(f"{describe(node)}: {reason}; the file is damaged, export it again") from error


def _check_bodies(node: NodeProto) -> None:
    """Check that the inputs and outputs of If branches and Loop bodies match those of the node."""
    for body in subgraphs(node) if node.domain in ("", "ai.onnx") else ():
        inputs, outputs = len(body.input), len(body.output)
        if node.op_type == "If":
            fits = (inputs, outputs) == (0, len(node.output))
        elif node.op_type == "Loop":
            fits = (inputs, outputs) == (len(node.input), 1 + len(node.output)) and inputs - 2 <= len(node.output)
        else:
            continue
        if not fits:
            raise UnsupportedTeacherError(
                f"{describe(node)}: its subgraph has {inputs} inputs and {outputs} outputs, which do not match the node; "
                "the file is damaged, export it again"
            )


def _has_schema(node: NodeProto, opsets: dict[str, int]) -> bool:
    domain = "" if node.domain == "ai.onnx" else node.domain
    if domain not in opsets or (domain, node.op_type) not in _KNOWN:
        return False
    try:
        schema = onnx.defs.get_schema(node.op_type, max_inclusive_version=opsets[domain], domain=domain)
    except onnx.defs.SchemaError:
        return False
    return not schema.deprecated


def _without_bodies(node: NodeProto) -> NodeProto:
    """A copy with empty subgraphs: the checker would look for the outer values that they read."""
    copy = NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        if attribute.HasField("g"):
            attribute.g.CopyFrom(_EMPTY)
        for body in attribute.graphs:
            body.CopyFrom(_EMPTY)
    return copy
