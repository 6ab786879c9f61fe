"""The part of a model that some outputs depend on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import ModelProto, NodeProto

from zskd_onnx.importer.file.checks.walk import subgraphs


def keep_needed(model: ModelProto, outputs: Sequence[str]) -> None:
    """Remove the other outputs, and the nodes that only they need.

    The importer leaves such nodes out, so nothing is known of them: onnxruntime would run a loop
    without end there.
    """
    kept = needed_nodes(model, outputs)
    kept_outputs = [value for value in model.graph.output if value.name in outputs]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(kept)
    model.graph.output.extend(kept_outputs)


def needed_nodes(model: ModelProto, outputs: Sequence[str]) -> list[NodeProto]:
    """The nodes that some outputs depend on, in the file's order."""
    makers = {name: node for node in model.graph.node for name in node.output}
    waiting, needed = list(outputs), set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and id(node) not in needed:
            needed.add(id(node))
            waiting += _read(node)
    return [node for node in model.graph.node if id(node) in needed]


def _read(node: NodeProto) -> Iterator[str]:
    """What a node reads, and the nodes of its bodies."""
    yield from filter(None, node.input)
    for body in subgraphs(node):
        yield from (value.name for value in body.output)
        for inner in body.node:
            yield from _read(inner)
