"""Extract the part of a model that given outputs depend on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import ModelProto, NodeProto

from zskd_onnx.importer.file.checks.walk import subgraphs


def keep_only(model: ModelProto, outputs: Sequence[str]) -> None:
    """Remove all other outputs, and the nodes that only they need, in place.

    The importer does not check those nodes, so onnxruntime must not run them: one may be an
    endless loop.

    Args:
        model: the model.
        outputs: names of outputs to keep.
    """
    nodes = nodes_behind(model, outputs)
    values = [value for value in model.graph.output if value.name in outputs]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(nodes)
    model.graph.output.extend(values)


def drop_unused_inputs(model: ModelProto) -> set[str]:
    """Remove the inputs that no output depends on, in place; returns their names.

    Exporters leave inputs that nothing reads, for example a label. Weights that are also declared as
    inputs stay.
    """
    nodes = nodes_behind(model, [value.name for value in model.graph.output])
    read = {value.name for value in model.graph.output} | {name for node in nodes for name in read_names(node)}
    read |= {tensor.name for tensor in model.graph.initializer}
    unused = [value for value in model.graph.input if value.name not in read]
    for value in unused:
        model.graph.input.remove(value)
    return {value.name for value in unused}


def nodes_behind(model: ModelProto, outputs: Sequence[str]) -> list[NodeProto]:
    """The nodes of the main graph that the named values depend on, in the file's order."""
    producers = {name: node for node in model.graph.node for name in node.output}
    pending, required = list(outputs), set()
    while pending:
        node = producers.get(pending.pop())
        if node is not None and id(node) not in required:
            required.add(id(node))
            pending += read_names(node)
    return [node for node in model.graph.node if id(node) in required]


def read_names(node: NodeProto) -> Iterator[str]:
    """Names of the values that a node and its subgraphs read."""
    yield from filter(None, node.input)
    for body in subgraphs(node):
        yield from (value.name for value in body.output)
        for inner in body.node:
            yield from read_names(inner)
