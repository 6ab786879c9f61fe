"""Hostile files on the real command line: each is refused in one line, in seconds, in little memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.importer.bounded import command_line

MEMORY = 1 << 30
"""Bytes that one file may need."""

SECONDS = 15
"""Processor time that one file may need."""

node = helper.make_node
Make = Callable[[Path], ModelProto]

HUGE = 1 << 40


def ints(*values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64))


def constant(name: str, *values: int) -> NodeProto:
    return node("Constant", [], [name], value=ints(*values))


def number(name: str, value: int | float | bool) -> NodeProto:
    kind = {bool: np.bool_, int: np.int64, float: np.float32}[type(value)]
    return node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, dtype=kind)))


def values(name: str, shape: list[int | str] | None = None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: list[NodeProto], shape: list[int | str] | None = None, **parts: object) -> ModelProto:
    """A model from x, of shape (N, 4) by default, to y."""
    weights: list[TensorProto] = parts.pop("weights", [])  # type: ignore[assignment]
    opset = parts.pop("opset", 17)
    graph = helper.make_graph(nodes, "g", [values("x", shape or ["N", 4])], [values("y")], weights)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]  # type: ignore[arg-type]
    return helper.make_model(graph, opset_imports=imports, ir_version=9, **parts)


def weight(name: str = "w", shape: tuple[int, ...] = (4, 5)) -> TensorProto:
    rng = np.random.default_rng(0)
    return numpy_helper.from_array(rng.standard_normal(shape, dtype=np.float32), name)


def linear(**parts: object) -> ModelProto:
    return model([node("MatMul", ["x", "w"], ["y"])], weights=[weight()], **parts)


def external(tensor: TensorProto, location: str) -> TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


# Data outside the file


def escape_by_dots(folder: Path) -> ModelProto:
    return with_external(folder, "../secret.bin")


def escape_by_absolute_path(folder: Path) -> ModelProto:
    return with_external(folder, str(folder.parent / "secret.bin"))


def escape_by_linked_file(folder: Path) -> ModelProto:
    (folder / "w.bin").symlink_to(folder.parent / "secret.bin")
    return with_external(folder, "w.bin")


def escape_by_linked_folder(folder: Path) -> ModelProto:
    (folder / "data").symlink_to(folder.parent, target_is_directory=True)
    return with_external(folder, "data/secret.bin")


def with_external(folder: Path, location: str) -> ModelProto:
    (folder.parent / "secret.bin").write_bytes(b"\0" * 80)
    built = linear()
    external(built.graph.initializer[0], location)
    return built


def external_in_a_subgraph(folder: Path) -> ModelProto:
    (folder / "w.bin").write_bytes(b"\0" * 80)
    inner = helper.make_graph(
        [node("MatMul", ["x", "w"], ["z"])], "b", [], [values("z")], [external(weight(), "w.bin")]
    )
    return model([number("c", True), node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)])


def external_in_an_attribute(folder: Path) -> ModelProto:
    (folder / "w.bin").write_bytes(b"\0" * 80)
    built = model([node("Constant", [], ["w"], value=weight()), node("MatMul", ["x", "w"], ["y"])])
    external(built.graph.node[0].attribute[0].t, "w.bin")
    return built


def external_in_a_function(folder: Path) -> ModelProto:
    (folder / "w.bin").write_bytes(b"\0" * 80)
    built = model([node("F", ["x"], ["y"], domain="local")])
    body = [node("Constant", [], ["w"], value=weight()), node("MatMul", ["a", "w"], ["b"])]
    external(body[0].attribute[0].t, "w.bin")
    built.functions.append(helper.make_function("local", "F", ["a"], ["b"], body, built.opset_import))
    return built


def external_many_times(folder: Path) -> ModelProto:
    """Thousands of weights that overlap, so that a small folder needs terabytes of memory."""
    data = folder / "w.bin"
    with data.open("wb") as file:
        file.truncate(1 << 24)
    names = [f"w{i}" for i in range(2000)]
    tensors = [TensorProto(name=name, data_type=1, dims=[1 << 22]) for name in names]
    nodes = [node("ReduceSum", [name], [f"s{name}"], keepdims=0) for name in names]
    return model(
        [*nodes, node("Sum", ["x", *(f"s{name}" for name in names)], ["y"])],
        weights=[external(tensor, "w.bin") for tensor in tensors],
    )


# Tensors whose data does not match their declaration


def with_weight(change: Callable[[TensorProto], object]) -> Make:
    def make(folder: Path) -> ModelProto:
        built = linear()
        change(built.graph.initializer[0])
        return built

    return make


def typed(field: str, kind: int, count: int, dims: tuple[int, ...] = (4, 5)) -> Make:
    def change(w: TensorProto) -> None:
        w.ClearField("raw_data")
        w.data_type = kind
        w.dims[:] = dims
        getattr(w, field).extend([1] * count)

    return with_weight(change)


def no_data(dims: tuple[int, ...]) -> Make:
    return typed("float_data", TensorProto.FLOAT, 0, dims)


def sparse(folder: Path) -> ModelProto:
    """A matrix of 2^60 elements, of which two are stored."""
    built = model([node("MatMul", ["x", "w"], ["y"])])
    entries = built.graph.sparse_initializer.add(dims=[4, 1 << 58])
    entries.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    entries.indices.CopyFrom(ints(0, 3))
    return built


def sparse_attribute(folder: Path) -> ModelProto:
    built = model([node("Constant", [], ["w"]), node("MatMul", ["x", "w"], ["y"])])
    attribute = built.graph.node[0].attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.dims[:] = [4, 1 << 58]
    attribute.sparse_tensor.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    attribute.sparse_tensor.indices.CopyFrom(ints(0, 3))
    return built


def huge_attribute(folder: Path) -> ModelProto:
    tensor = TensorProto(name="w", data_type=1, dims=[4, HUGE])
    return model([node("Constant", [], ["w"], value=tensor), node("MatMul", ["x", "w"], ["y"])])


# Malformed graphs


def cyclic(folder: Path) -> ModelProto:
    return model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])])


def reads_its_own_output(folder: Path) -> ModelProto:
    return model([node("Add", ["x", "y"], ["y"])])


def value_defined_twice(folder: Path) -> ModelProto:
    return model([node("Relu", ["x"], ["a"]), node("Neg", ["x"], ["a"]), node("Relu", ["a"], ["y"])])


def redefines_its_input(folder: Path) -> ModelProto:
    return model([node("Relu", ["x"], ["x"]), node("Relu", ["x"], ["y"])])


def two_weights_with_the_same_name(folder: Path) -> ModelProto:
    return model([node("MatMul", ["x", "w"], ["y"])], weights=[weight(), weight(shape=(4, 6))])


def output_that_no_node_computes(folder: Path) -> ModelProto:
    return model([node("Relu", ["x"], ["z"])])


def output_without_a_name(folder: Path) -> ModelProto:
    built = linear()
    built.graph.output[0].name = ""
    return built


def input_that_no_node_computes(folder: Path) -> ModelProto:
    return model([node("Add", ["x", "nowhere"], ["y"])])


def weight_that_is_the_input(folder: Path) -> ModelProto:
    return model([node("Relu", ["x"], ["y"])], weights=[weight("x", (7, 9))])


def weight_declared_with_another_shape(folder: Path) -> ModelProto:
    built = linear()
    built.graph.input.append(values("w", [1000, 1000]))
    return built


def negative_input(folder: Path) -> ModelProto:
    return model([node("Relu", ["x"], ["y"])], ["N", -4])


def not_utf8(folder: Path) -> bytes:
    built = linear()
    built.graph.node[0].name = "replaceme"
    return built.SerializeToString().replace(b"replaceme", b"\xff\xfe\xff\xff\xff\xff\xff\xff\xff")


def operator_not_utf8(folder: Path) -> bytes:
    return linear().SerializeToString().replace(b"MatMul", b"\xff\xfeaaaa")


def attribute_of_another_type(folder: Path) -> ModelProto:
    return model([node("Softmax", ["x"], ["y"], axis="hello")])


def attribute_that_is_missing(folder: Path) -> ModelProto:
    return model([node("Concat", ["x", "x"], ["y"])])


def node_without_inputs(folder: Path) -> ModelProto:
    return model([node("MatMul", ["x"], ["y"])], weights=[weight()])


def branch_without_its_graphs(folder: Path) -> ModelProto:
    return model([number("c", True), node("If", ["c"], ["y"])])


# All of them

REFUSED: dict[str, Make] = {
    **{
        f.__name__: f
        for f in (
            escape_by_dots,
            escape_by_absolute_path,
            escape_by_linked_file,
            escape_by_linked_folder,
            external_in_a_subgraph,
            external_in_an_attribute,
            external_in_a_function,
            external_many_times,
            sparse,
            sparse_attribute,
            huge_attribute,
            cyclic,
            reads_its_own_output,
            value_defined_twice,
            redefines_its_input,
            two_weights_with_the_same_name,
            output_that_no_node_computes,
            output_without_a_name,
            input_that_no_node_computes,
            weight_that_is_the_input,
            weight_declared_with_another_shape,
            negative_input,
            not_utf8,
            operator_not_utf8,
            attribute_of_another_type,
            attribute_that_is_missing,
            node_without_inputs,
            branch_without_its_graphs,
        )
    },
    "3 GB without data": no_data((1000, 750_000)),
    "2^62 elements without data": no_data((1 << 31, 1 << 31)),
    "2^124 elements without data": no_data((1 << 62, 1 << 62)),
    "too few floats": typed("float_data", TensorProto.FLOAT, 3),
    "too many floats": typed("float_data", TensorProto.FLOAT, 21),
    "too few doubles": typed("double_data", TensorProto.DOUBLE, 3),
    "too few int32": typed("int32_data", TensorProto.INT32, 3),
    "too few int64": typed("int64_data", TensorProto.INT64, 3),
    "too few uint64": typed("uint64_data", TensorProto.UINT64, 3),
    "too few halves": typed("int32_data", TensorProto.FLOAT16, 3),
    "floats in the field of integers": typed("int64_data", TensorProto.FLOAT, 20),
    "two fields with data": with_weight(lambda w: w.float_data.extend([1.0] * 20)),
    "an unknown type": with_weight(lambda w: setattr(w, "data_type", 9999)),
    "no type": with_weight(lambda w: setattr(w, "data_type", 0)),
    "a negative dimension": with_weight(lambda w: w.dims.__setitem__(0, -(1 << 63))),
}


def run(make: Make, tmp_path: Path) -> tuple[int | None, str]:
    folder = tmp_path / "in"
    folder.mkdir()
    built = make(folder)
    path = folder / "model.onnx"
    path.write_bytes(built if isinstance(built, bytes) else built.SerializeToString())
    outcome = command_line("inspect", path, folder=folder)
    assert outcome.code in (0, 3), outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.grown < MEMORY, f"{outcome.grown >> 20} MiB: {outcome.stderr}"
    assert outcome.seconds < SECONDS, f"{outcome.seconds:.1f} s: {outcome.stderr}"
    if outcome.code:
        assert outcome.stderr.startswith("error: ")
        assert outcome.stderr.count("\n") == 1
        assert len(outcome.stderr) < 2000
    return outcome.code, outcome.stderr


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_file_is_refused(tmp_path: Path, name: str) -> None:
    code, message = run(REFUSED[name], tmp_path)
    assert code == 3
    assert "onnxruntime" not in message, "the package's own checks must come first"
