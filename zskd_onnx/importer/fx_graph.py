"""The imported graph as a copy: to look into, to ask for inner values, to cut."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, TypeGuard

from torch import Tensor, fx
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata


def join(parts: Sequence[fx.GraphModule], sample: Tensor) -> fx.GraphModule:
    """One module that gives what each part gives, as a tuple; weights are shared.

    Args:
        parts: come from one import, so nodes of one name compute one value.
        sample: an input; nodes remember the shapes that it leads to, see ``shape_of``.
    """
    graph, copies, owned = fx.Graph(), dict[str, fx.Node](), dict[str, Any]()
    outputs = []
    for part in parts:
        for node in part.graph.nodes:
            if node.op == "output":
                outputs.append(copies[node.args[0].name])
            elif node.name not in copies:
                copies[node.name] = graph.node_copy(node, lambda n: copies[n.name])
                if node.op in ("get_attr", "call_module"):
                    owned[node.target] = attrgetter(node.target)(part)
    graph.output(tuple(outputs))
    joined = fx.GraphModule(owned, graph, class_name="Teacher")
    ShapeProp(joined).propagate(sample)
    return joined


def outputs_of(module: fx.GraphModule) -> list[fx.Node]:
    """The nodes whose values a joined module gives."""
    return list(module.graph.output_node().args[0])  # type: ignore[arg-type]


def give(module: fx.GraphModule, values: Sequence[fx.Node]) -> None:
    """Let a joined module give these values, and compute nothing else."""
    module.graph.output_node().args = (tuple(values),)
    module.graph.eliminate_dead_code()
    module.recompile()


def cut(module: fx.GraphModule, value: fx.Node) -> bool:
    """Make a module start at an inner value, which becomes its input.

    Returns:
        Whether that was possible; not where its results need the old input otherwise.
    """
    graph = module.graph
    start = next(iter(graph.nodes))
    with graph.inserting_before(start):
        value.replace_all_uses_with(graph.placeholder("inner"))
    graph.eliminate_dead_code()
    if start.users:
        return False
    graph.erase_node(start)
    module.recompile()
    return True


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """The shape of a tensor in a joined graph; None of what is no tensor (sizes, several outputs)."""
    found = node.meta.get("tensor_meta")
    return tuple(found.shape) if isinstance(found, TensorMetadata) else None


def is_constant(value: Any) -> TypeGuard[fx.Node]:
    """Whether an argument is a weight; cleaning has left no other constants."""
    return isinstance(value, fx.Node) and value.op == "get_attr"


def computed_inputs(node: fx.Node) -> list[fx.Node]:
    """The tensors, not weights, that a node reads."""
    return [n for n in node.all_input_nodes if not is_constant(n) and shape_of(n) is not None]


def readers(node: fx.Node) -> list[fx.Node]:
    """The nodes that make tensors of this one, and the output; reading the shape does not count."""
    return [n for n in node.users if n.op == "output" or "tensor_meta" in n.meta]


def only_reader(node: fx.Node) -> fx.Node | None:
    """The one node that reads a tensor, or None where there are several."""
    found = readers(node)
    return found[0] if len(found) == 1 else None


def describe(node: fx.Node) -> str:
    """How messages name a node: "node 'conv1' (Conv)"."""
    return node.meta.get("onnx", node.name)


def operator_name(node: fx.Node) -> str:
    """The ONNX operator, behind its domain where that is not ONNX's own; "" where a node stands for none."""
    return node.meta.get("onnx", "").rpartition("(")[2].removesuffix(")")
