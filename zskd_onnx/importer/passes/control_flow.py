"""Inline branches and unroll loops whose condition and trip count are constant."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir import convenience

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.nodes import describe

TRIP_LIMIT = 1024
"""Largest number of iterations of a loop; each is copied into the graph."""

SIZE_LIMIT = 20_000
"""Largest number of nodes and constants of a graph after unrolling, because nested loops multiply."""


def inline_control_flow(node: ir.Node) -> bool:
    """Replace an If with a constant condition, or a Loop with a constant trip count, by its body.

    Returns:
        Whether the node was replaced. The new nodes are inserted behind it.

    Raises:
        UnsupportedTeacherError: a loop has more than ``TRIP_LIMIT`` iterations, or the graph would
            have more than ``SIZE_LIMIT`` nodes and constants.
    """
    if node.domain != "":
        return False
    if node.op_type == "If":
        return _inline_if(node)
    return node.op_type == "Loop" and _unroll_loop(node)


def _inline_if(node: ir.Node) -> bool:
    condition = _constant(node.inputs[0])
    if condition is None:
        return False
    branch = node.attributes["then_branch" if condition else "else_branch"].as_graph()
    insertion = _Insertion(node)
    insertion.replace(insertion.body(branch, {}, ""))
    return True


def _unroll_loop(node: ir.Node) -> bool:
    """Unroll a loop that ends by its trip count alone, and return whether it was one.

    The body must return its condition unchanged, or as constant true.
    """
    trips, condition, *carried = node.inputs
    count = _constant(trips)
    start = True if condition is None else _constant(condition)
    body = node.attributes["body"].as_graph()
    if count is None or start is None or not _continues(body):
        return False
    count = int(count) if start else 0
    scans = len(body.outputs) - 1 - len(carried)
    if count > TRIP_LIMIT:
        raise UnsupportedTeacherError(
            f"{describe(node)}: {count} iterations, at most {TRIP_LIMIT} can be unrolled; "
            "export the model with a shorter loop"
        )
    if scans and not count:
        return False
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    # Each iteration adds two constants: its number and its condition.
    size = sum(1 for _ in body.all_nodes())
    if count and len(graph) + len(graph.initializers) + count * (size + 2) > SIZE_LIMIT:
        raise UnsupportedTeacherError(
            f"{describe(node)}: its loops unroll to more than {SIZE_LIMIT:,} nodes and constants; "
            "export the model with shorter loops"
        )
    insertion = _Insertion(node)
    states: list[ir.Value | None] = list(carried)
    rows: list[list[ir.Value | None]] = [[] for _ in range(scans)]
    for i in range(count):
        step = insertion.constant(ir.tensor(i, dtype=ir.DataType.INT64))
        proceed = insertion.constant(ir.tensor(True))
        outputs = insertion.body(body, dict(zip(body.inputs, [step, proceed, *states], strict=True)), f"_{i}")
        states = outputs[1 : 1 + len(carried)]
        for row, value in zip(rows, outputs[1 + len(carried) :], strict=True):
            row.append(insertion.unsqueeze(value))
    insertion.replace([*states, *(insertion.node("Concat", row, {"axis": 0}) for row in rows)])
    return True


def _continues(body: ir.Graph) -> bool:
    """Whether the body's condition output is its condition input, or constant true."""
    value: ir.Value | None = body.outputs[0]
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type == "Constant" and producer.domain == "":
            constant = producer.attributes.get("value")
            return (
                constant is not None
                and constant.type == ir.AttributeType.TENSOR
                and bool(constant.as_tensor().numpy().all())
            )
        if producer.op_type != "Identity" or producer.domain != "":
            return False
        value = producer.inputs[0]
    return value is body.inputs[1] or (value is not None and bool(_constant(value)))


def _constant(value: ir.Value | None) -> float | None:
    """The number in a constant of one int64 or bool element, or None."""
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    if value.const_value.dtype not in (ir.DataType.INT64, ir.DataType.BOOL):
        return None
    return value.const_value.numpy().item()


class _Insertion:
    """Inserts nodes behind a node, one after the other, and finally replaces that node."""

    def __init__(self, node: ir.Node) -> None:
        assert isinstance(node.graph, ir.Graph)
        self.graph = node.graph
        self.replaced = node
        self.last = node
        self.count = 0

    def new_name(self) -> str:
        self.count += 1
        return f"{self.replaced.outputs[0].name}_{self.count}"

    def add(self, node: ir.Node) -> None:
        self.graph.insert_after(self.last, node)
        self.last = node

    def node(
        self,
        op_type: str,
        inputs: list[ir.Value | None],
        attributes: Mapping[str, int] | None = None,
        name: str | None = None,
    ) -> ir.Value:
        node = ir.node(op_type, inputs, attributes=attributes)
        node.outputs[0].name = name or self.new_name()
        self.add(node)
        return node.outputs[0]

    def constant(self, tensor: ir.TensorProtocol) -> ir.Value:
        value = ir.val(self.new_name(), const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def unsqueeze(self, value: ir.Value | None) -> ir.Value:
        version = self.graph.opset_imports.get("", 1)
        if version < 13:
            return self.node("Unsqueeze", [value], {"axes": [0]})  # type: ignore[dict-item]
        return self.node("Unsqueeze", [value, self.constant(ir.tensor([0], dtype=ir.DataType.INT64))])

    def body(self, body: ir.Graph, inputs: Mapping[ir.Value, ir.Value | None], suffix: str) -> list[ir.Value | None]:
        """Copy a body's nodes into the graph, with ``inputs`` in place of its own; returns its outputs."""
        copy = body.clone(allow_outer_scope_values=True)
        values = list(inputs.values())
        for parameter, value in zip(copy.inputs, values, strict=True):
            if value is not None:
                convenience.replace_all_uses_with(parameter, value, replace_graph_outputs=True)
        outputs: list[ir.Value | None] = list(copy.outputs)
        copy.outputs.clear()
        prefix = f"{self.replaced.name or self.replaced.outputs[0].name}{suffix}_"
        for value in list(copy.initializers.values()):
            del copy.initializers[value.name or ""]
            value.name = prefix + (value.name or "")
            self.graph.register_initializer(value)
        for node in list(copy):
            copy.remove(node)
            node.name = prefix + (node.name or "")
            for output in node.outputs:
                output.name = prefix + (output.name or "")
            self.add(node)
        return outputs

    def replace(self, values: list[ir.Value | None]) -> None:
        """Give ``values`` the old output names by Identity nodes, and remove the replaced node."""
        for old, value in zip(self.replaced.outputs, values, strict=True):
            name, old.name = old.name, f"{old.name}_replaced"
            new = self.node("Identity", [value], name=name)
            new.shape, new.type = old.shape, old.type
            convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        self.graph.remove(self.replaced)
