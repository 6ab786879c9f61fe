"""Ways through a model's nested parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The bodies that a node's attributes hold."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all bodies in it, outer ones first.

    Protobuf bounds how deep messages may nest, so this recursion ends.
    """
    yield graph
    yield from _inside(graph.node)


def _inside(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for body in subgraphs(node):
            yield from graphs(body)


def all_graphs(model: ModelProto) -> Iterator[GraphProto]:
    """All graphs of a model, those inside its functions included."""
    yield from graphs(model.graph)
    for function in model.functions:
        yield from _inside(function.node)


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """All nodes of a model, those of bodies and functions included."""
    for function in model.functions:
        yield from function.node
    for graph in all_graphs(model):
        yield from graph.node


def attributes(model: ModelProto) -> Iterator[AttributeProto]:
    """All attributes of all nodes, and the defaults of functions."""
    for function in model.functions:
        yield from function.attribute_proto
    for node in all_nodes(model):
        yield from node.attribute


def describe(node: NodeProto) -> str:
    """As ``nodes.describe`` names a node."""
    name = node.name or next(iter(node.output), "")
    return f"node '{name}' ({node.domain + '.' if node.domain else ''}{node.op_type})"
