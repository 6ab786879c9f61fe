"""Iterate over the nested parts of a model: subgraphs, nodes and attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The subgraphs in a node's attributes: the branches of an If, the body of a Loop."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all its nested subgraphs, outer ones first.

    Protobuf limits how deep messages are nested, and so the recursion.
    """
    yield graph
    yield from _inside(graph.node)


def _inside(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for body in subgraphs(node):
            yield from graphs(body)


def all_graphs(model: ModelProto) -> Iterator[GraphProto]:
    """All graphs of a model: the main graph and every subgraph, also those inside functions."""
    yield from graphs(model.graph)
    for function in model.functions:
        yield from _inside(function.node)


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """All nodes of a model, also those of subgraphs and functions."""
    for function in model.functions:
        yield from function.node
    for graph in all_graphs(model):
        yield from graph.node


def attributes(model: ModelProto) -> Iterator[AttributeProto]:
    """All attributes of all nodes, and the default attributes of functions."""
    for function in model.functions:
        yield from function.attribute_proto
    for node in all_nodes(model):
        yield from node.attribute


def describe(node: NodeProto) -> str:
    """The name of a node in messages, "node 'conv1' (Conv)", like ``nodes.describe``."""
    name = node.name or next(iter(node.output), "")
    return f"node '{name}' ({node.domain + '.' if node.domain else ''}{node.op_type})"
