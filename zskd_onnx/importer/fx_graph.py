"""Inspect and edit an imported ``torch.fx`` graph: join, cut, choose outputs, name nodes."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, TypeGuard

from torch import Tensor, fx, nn
from torch.fx.graph import PythonCode

from zskd_onnx.errors import UnsupportedTeacherError

INITIALIZERS = "initializers"
"""Key of a module's ``meta``, see ``ImportedModel.initializers``."""

VALUE = "value"
"""Key of a node's ``meta``: the name of the ONNX value that the node computes."""


class ImportedModel(fx.GraphModule):
    """A graph module whose errors are exceptions alone; torch's own class also prints them on stderr.

    ``state_dict`` of a trainable import has the file's weights and running statistics alone, without
    the other constants.
    """

    def __init__(self, root: nn.Module | dict[str, Any], graph: fx.Graph, class_name: str = "ImportedModel") -> None:
        """``root``: holds what the graph reads, see ``fx.GraphModule``. Parts of an import keep its ``meta``."""
        super().__init__(root, graph, class_name)
        if isinstance(root, fx.GraphModule):
            self.meta.update(root.meta)
        self._hide_constants()

    def __deepcopy__(self, memo: dict[int, Any]) -> ImportedModel:
        copy: ImportedModel = super().__deepcopy__(memo)  # type: ignore[assignment]
        copy._hide_constants()
        return copy

    @property
    def initializers(self) -> dict[str, str]:
        """Key of ``state_dict`` -> name of the tensor in the file; empty unless the import is trainable."""
        return self.meta.get(INITIALIZERS, {})

    def _hide_constants(self) -> None:
        """Leave constants out of the ``state_dict`` of a trainable import."""
        if self.initializers:
            self._non_persistent_buffers_set |= self._buffers.keys() - self.initializers.keys()

    def recompile(self) -> PythonCode:
        """Generate ``forward`` from the graph."""
        code = super().recompile()
        del type(self).__call__  # torch puts the method that prints here
        return code


def join(parts: Sequence[fx.GraphModule], sample: Tensor) -> fx.GraphModule:
    """Merge modules into one that returns a tuple with the output of each; weights are shared.

    Args:
        parts: modules from the same import, with one output each. Nodes of the same name compute
            the same value and are merged.
        sample: an input (N, ...). Every node stores the shape that this input gives it, see
            ``shape_of``.
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
    joined = ImportedModel(owned, graph, class_name="ImportedModel")
    _StoreShapes(joined).run(sample)
    return joined


class NodeByNode(fx.Interpreter):
    """Runs a graph node by node. An error names the node, and nothing is printed."""

    def __init__(self, module: fx.GraphModule, *, garbage_collect_values: bool = True) -> None:
        super().__init__(module, garbage_collect_values)
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        """Compute one node.

        Raises:
            UnsupportedTeacherError: the computation fails.
        """
        try:
            return super().run_node(n)
        except Exception as error:
            reason = (str(error) or type(error).__name__).strip().split("\n", 1)[0][:300]
            raise UnsupportedTeacherError(f"{describe(n)}: {reason}") from error


class _StoreShapes(NodeByNode):
    """Stores in each node the shape of its tensor, or None for several tensors."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape)
        elif isinstance(result, (tuple, list)) and any(isinstance(x, Tensor) for x in result):
            n.meta["shape"] = None
        return result


def outputs_of(module: fx.GraphModule) -> list[fx.Node]:
    """The nodes whose values a joined module returns, in order."""
    return list(module.graph.output_node().args[0])  # type: ignore[arg-type]


def give(module: fx.GraphModule, values: Sequence[fx.Node]) -> None:
    """Set what a joined module returns, in place, and remove the nodes that this does not need.

    Args:
        module: a joined module.
        values: nodes of its graph; the module then returns a tuple of their values.
    """
    module.graph.output_node().args = (tuple(values),)
    module.graph.eliminate_dead_code()
    module.recompile()


def cut(module: fx.GraphModule, value: fx.Node) -> bool:
    """Replace the input of a module by an intermediate value, in place.

    Args:
        module: a joined module with one input.
        value: the node whose value becomes the new input.

    Returns:
        True if the module was cut. False if its outputs also depend on the old input in another
        way; the module is then of no further use.
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
    """The shape of a node's tensor in a joined graph, or None if its value is not one tensor."""
    return node.meta.get("shape")


def is_constant(value: Any) -> TypeGuard[fx.Node]:
    """Whether an argument of a node is a weight."""
    return isinstance(value, fx.Node) and value.op == "get_attr"


def computed_inputs(node: fx.Node) -> list[fx.Node]:
    """The input tensors of a node that are not weights."""
    return [n for n in node.all_input_nodes if not is_constant(n) and shape_of(n) is not None]


def readers(node: fx.Node) -> list[fx.Node]:
    """The nodes that compute tensors from a node's value, and the graph's output.

    A node that only reads the shape does not count.
    """
    return [n for n in node.users if n.op == "output" or "shape" in n.meta]


def only_reader(node: fx.Node) -> fx.Node | None:
    """The node that reads a tensor, or None if there are none or several."""
    nodes = readers(node)
    return nodes[0] if len(nodes) == 1 else None


def describe(node: fx.Node) -> str:
    """The name of a node in messages: "node 'conv1' (Conv)", or torch.fx's name without an ONNX node."""
    return node.meta.get("onnx", node.name)


def operator_name(node: fx.Node) -> str:
    """The ONNX operator of a node, "Conv" or "com.microsoft.Gelu"; "" without an ONNX node."""
    return node.meta.get("onnx", "").rpartition("(")[2].removesuffix(")")
