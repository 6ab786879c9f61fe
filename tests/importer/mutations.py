"""Mutations of a valid ONNX file for the fuzz tests, each drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

from zskd_onnx.importer.file.checks.walk import all_nodes
from zskd_onnx.importer.operators.registry import registered

Draw = Callable[..., Any]

OPERATORS = [*sorted({name for _, name, _ in registered()}), "If", "Loop", "Scan", "Nothing", ""]
INTEGERS = st.one_of(
    st.integers(-3, 9), st.sampled_from([64, 4096, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, 1 << 62, -(1 << 63)])
)
FLOATS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, float("inf"), float("-inf"), float("nan"), 0.5, 2.0])
NAMES = st.sampled_from(["", "x", "y", "w0", "w1", "nowhere", "r", "c", "h", "\n", "\u202e"])


def _node(draw: Draw, model: ModelProto) -> NodeProto:
    nodes = list(all_nodes(model))
    return draw(st.sampled_from(nodes)) if nodes else model.graph.node.add()


def _value_names(model: ModelProto) -> list[str]:
    outputs = [name for node in model.graph.node for name in node.output]
    return [*outputs, *(t.name for t in model.graph.initializer), *(i.name for i in model.graph.input), ""]


def operator(draw: Draw, model: ModelProto) -> None:
    """Change a node's operator."""
    node = _node(draw, model)
    node.op_type = draw(st.sampled_from(OPERATORS))
    if draw(st.booleans()):
        del node.attribute[:]


def domain(draw: Draw, model: ModelProto) -> None:
    """Change a node's domain."""
    _node(draw, model).domain = draw(st.sampled_from(["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "local", "me"]))


def rewire(draw: Draw, model: ModelProto) -> None:
    """Change, remove or add an input of a node."""
    node = _node(draw, model)
    name = draw(st.one_of(st.sampled_from(_value_names(model)), NAMES))
    if node.input and draw(st.booleans()):
        node.input[draw(st.integers(0, len(node.input) - 1))] = name
    elif node.input and draw(st.booleans()):
        del node.input[draw(st.integers(0, len(node.input) - 1))]
    else:
        node.input.append(name)


def rename(draw: Draw, model: ModelProto) -> None:
    """Change or add an output of a node."""
    node = _node(draw, model)
    name = draw(st.one_of(st.sampled_from(_value_names(model)), NAMES))
    if node.output and draw(st.booleans()):
        node.output[draw(st.integers(0, len(node.output) - 1))] = name
    else:
        node.output.append(name)


def nodes(draw: Draw, model: ModelProto) -> None:
    """Remove a node, repeat one, swap two, or connect one to another."""
    nodes = model.graph.node
    if not nodes:
        return
    i, j = (draw(st.integers(0, len(nodes) - 1)) for _ in range(2))
    action = draw(st.sampled_from(["remove", "repeat", "swap", "connect"]))
    if action == "remove":
        del nodes[i]
    elif action == "repeat":
        nodes.add().CopyFrom(nodes[i])
    elif action == "swap":
        first, second = NodeProto(), NodeProto()
        first.CopyFrom(nodes[i])
        second.CopyFrom(nodes[j])
        nodes[i].CopyFrom(second)
        nodes[j].CopyFrom(first)
    elif nodes[i].input and nodes[j].output:
        nodes[i].input[0] = nodes[j].output[0]


def attribute(draw: Draw, model: ModelProto) -> None:
    """Change, remove, rename or add an attribute of a node."""
    with_attributes = [node for node in all_nodes(model) if node.attribute]
    if not with_attributes:
        return
    node = draw(st.sampled_from(with_attributes))
    index = draw(st.integers(0, len(node.attribute) - 1))
    chosen = node.attribute[index]
    action = draw(st.sampled_from(["value", "value", "value", "remove", "type", "name", "add"]))
    if action == "remove":
        del node.attribute[index]
    elif action == "type":
        chosen.type = draw(st.sampled_from(sorted(AttributeProto.AttributeType.values())))
    elif action == "name":
        chosen.name = draw(st.sampled_from(["axis", "axes", "group", "pads", "to", "mode", "", "strange"]))
    elif action == "add":
        node.attribute.add(
            name="auto_pad", type=AttributeProto.STRING, s=draw(st.sampled_from([b"SAME_UPPER", b"\xff"]))
        )
    else:
        _change_value(draw, chosen)


def _change_value(draw: Draw, chosen: AttributeProto) -> None:
    if chosen.type == AttributeProto.INT:
        chosen.i = draw(INTEGERS)
    elif chosen.type == AttributeProto.FLOAT:
        chosen.f = draw(FLOATS)
    elif chosen.type == AttributeProto.STRING:
        chosen.s = draw(
            st.one_of(st.binary(max_size=9), st.sampled_from([b"nearest", b"reflect", b"SAME_LOWER", b"MAX"]))
        )
    elif chosen.type == AttributeProto.INTS:
        _change_list(draw, chosen.ints, INTEGERS)
    elif chosen.type == AttributeProto.FLOATS:
        _change_list(draw, chosen.floats, FLOATS)
    elif chosen.type == AttributeProto.TENSOR:
        _change_tensor(draw, chosen.t)


def _change_list(draw: Draw, numbers: object, elements: st.SearchStrategy) -> None:
    size = len(numbers)  # type: ignore[arg-type]
    if size and draw(st.booleans()):
        numbers[draw(st.integers(0, size - 1))] = draw(elements)  # type: ignore[index]
    elif size and draw(st.booleans()):
        del numbers[draw(st.integers(0, size - 1))]  # type: ignore[attr-defined]
    else:
        numbers.append(draw(elements))  # type: ignore[attr-defined]


def weight(draw: Draw, model: ModelProto) -> None:
    """Change a weight."""
    if model.graph.initializer:
        _change_tensor(draw, draw(st.sampled_from(list(model.graph.initializer))))


def _change_tensor(draw: Draw, tensor: TensorProto) -> None:
    action = draw(st.sampled_from(["dims", "type", "content", "content", "integers", "empty", "permute", "name"]))
    if action == "dims":
        _change_list(draw, tensor.dims, INTEGERS)
    elif action == "type":
        tensor.data_type = draw(st.sampled_from([*sorted(TensorProto.DataType.values()), 99]))
    elif action == "content":
        content = bytearray(tensor.raw_data)
        for _ in range(min(len(content), 8)):
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        tensor.raw_data = bytes(content)
    elif action == "integers" and tensor.data_type == TensorProto.INT64:
        count = len(tensor.raw_data) // 8
        tensor.raw_data = b"".join(draw(INTEGERS).to_bytes(8, "little", signed=True) for _ in range(min(count, 9)))
    elif action == "empty":
        tensor.ClearField("raw_data")
        tensor.dims[:] = draw(st.sampled_from([[0], [], [0, 4], [4, 0]]))
    elif action == "permute":
        tensor.dims[:] = draw(st.permutations(list(tensor.dims)))
    elif action == "name":
        tensor.name = draw(NAMES)


def signature(draw: Draw, model: ModelProto) -> None:
    """Change an input or output of the graph."""
    value = draw(st.sampled_from([*model.graph.input, *model.graph.output]))
    action = draw(st.sampled_from(["name", "type", "dims", "none", "more"]))
    if action == "name":
        value.name = draw(st.one_of(NAMES, st.sampled_from(_value_names(model))))
    elif action == "type":
        value.type.tensor_type.elem_type = draw(st.sampled_from([*sorted(TensorProto.DataType.values()), 99]))
    elif action == "dims":
        dims = value.type.tensor_type.shape.dim
        if dims and draw(st.booleans()):
            dims[draw(st.integers(0, len(dims) - 1))].dim_value = draw(INTEGERS)
        else:
            dims.add(dim_value=draw(INTEGERS))
    elif action == "none":
        value.ClearField("type")
    else:
        model.graph.output.add(name=draw(st.sampled_from(_value_names(model))))


def versions(draw: Draw, model: ModelProto) -> None:
    """Change an opset version, an operator domain, or the IR version."""
    chosen = draw(st.sampled_from(list(model.opset_import)))
    if draw(st.booleans()):
        chosen.version = draw(st.one_of(st.integers(1, 26), INTEGERS))
    elif draw(st.booleans()):
        chosen.domain = draw(st.sampled_from(["", "ai.onnx", "ai.onnx.ml", "me"]))
    else:
        model.ir_version = draw(st.one_of(st.integers(0, 14), INTEGERS))


MUTATIONS = (operator, domain, rewire, rename, nodes, attribute, attribute, weight, weight, signature, versions)


def mutate_bytes(draw: Draw, content: bytes) -> bytes:
    """Change, cut, drop or repeat bytes."""
    mutated = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        if not mutated:
            break
        start = draw(st.integers(0, len(mutated) - 1))
        action = draw(st.sampled_from(["flip", "flip", "flip", "cut", "drop", "repeat"]))
        if action == "flip":
            mutated[start] = draw(st.integers(0, 255))
        elif action == "cut":
            del mutated[start:]
        else:
            piece = mutated[start : start + draw(st.integers(1, 40))]
            mutated[start : start + len(piece)] = piece * 2 if action == "repeat" else b""
    return bytes(mutated)
