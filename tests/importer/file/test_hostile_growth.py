"""Small files that expand to something very large: loops, functions, shapes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.importer.file.test_hostile import HUGE, Make, constant, linear, model, node, number, run, values, weight


def boolean(name: str) -> onnx.ValueInfoProto:
    return values(name, [], TensorProto.BOOL)


def loop(trips: str, condition: str, body: list[NodeProto], carried: str, out: str, name: str) -> NodeProto:
    """A loop whose body computes z from s; its condition is passed on."""
    ends = [values(f"{name}_i", [], TensorProto.INT64), boolean(f"{name}_c"), values(f"{name}_s")]
    graph = helper.make_graph(
        [node("Identity", [f"{name}_c"], [f"{name}_go"]), *body],
        name,
        ends,
        [boolean(f"{name}_go"), values(f"{name}_z")],
    )
    return node("Loop", [trips, condition, carried], [out], body=graph)


def endless(folder: Path) -> ModelProto:
    body = [node("Relu", ["l_s"], ["l_z"])]
    return model([number("n", 1 << 62), number("c", True), loop("n", "c", body, "x", "y", "l")])


def endless_by_condition(folder: Path) -> ModelProto:
    return model([number("c", True), loop("", "c", [node("Relu", ["l_s"], ["l_z"])], "x", "y", "l")])


def endless_and_unused(folder: Path) -> ModelProto:
    built = endless_by_condition(folder)
    built.graph.node[-1].output[0] = "unused"
    built.graph.node.append(node("Identity", ["x"], ["y"]))
    return built


def endless_behind_another_output(folder: Path) -> ModelProto:
    """An integer output, which is never needed, behind a loop that depends on the data."""
    built = linear()
    nodes = [
        node("ReduceSum", ["x"], ["total"], keepdims=0),
        node("Cast", ["total"], ["c"], to=TensorProto.BOOL),
        loop("", "c", [node("Identity", ["l_s"], ["l_z"])], "total", "spun", "l"),
        node("Cast", ["spun"], ["label"], to=TensorProto.INT64),
    ]
    built.graph.node.extend(nodes)
    built.graph.output.append(values("label", [], TensorProto.INT64))
    return built


def division_in_a_branch_not_taken(folder: Path) -> ModelProto:
    """Divides the smallest integer by -1, which onnxruntime's constant folding would compute."""
    taken = helper.make_graph([node("Relu", ["x"], ["z"])], "taken", [], [values("z")])
    nodes = [number("a", -(1 << 63)), number("b", -1), node("Div", ["a", "b"], ["v"])]
    nodes += [node("Cast", ["v"], ["o"], to=TensorProto.FLOAT)]
    other = helper.make_graph(nodes, "other", [], [values("o")])
    return model([number("c", True), node("If", ["c"], ["y"], then_branch=taken, else_branch=other)])


def nested_loops(folder: Path) -> ModelProto:
    inner: list[NodeProto] = [node("Relu", ["l0_s"], ["l0_z"])]
    for level in range(1, 6):
        inner = [loop("n", "c", inner, f"l{level}_s", f"l{level}_z", f"l{level - 1}")]
    return model([number("n", 1000), number("c", True), loop("n", "c", inner, "x", "y", "l5")])


def branches(depth: int) -> Make:
    def make(folder: Path) -> ModelProto:
        inner: GraphProto = helper.make_graph([node("Relu", ["x"], ["z"])], "b", [], [values("z")])
        for i in range(depth):
            choice = node("If", [f"c{i}"], [f"z{i}"], then_branch=inner, else_branch=inner)
            inner = helper.make_graph([number(f"c{i}", True), choice], "b", [], [values(f"z{i}")])
        return model([number("c", True), node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)])

    return make


def nested_messages(depth: int) -> Make:
    """If in If in If, encoded by hand, because protobuf does not write messages so deep."""

    def make(folder: Path) -> bytes:
        def field(number: int, content: bytes) -> bytes:
            size, encoded = len(content), b""
            while size >= 128:
                encoded, size = encoded + bytes([size % 128 + 128]), size // 128
            return bytes([number << 3 | 2]) + encoded + bytes([size]) + content

        graph = b""
        for _ in range(depth):
            graph = field(1, field(4, b"If") + field(5, field(1, b"then_branch") + field(6, graph)))
        return b"\x08\x09" + field(7, graph) + field(8, b"\x10\x11")

    return make  # type: ignore[return-value]


def functions(levels: int, *, circle: bool = False) -> Make:
    """Each function calls the one below it twice."""

    def make(folder: Path) -> ModelProto:
        built = model([node(f"F{levels}", ["x"], ["y"], domain="local")])
        for level in range(levels + 1):
            below = f"F{level - 1}" if level else f"F{levels}"
            calls = [node(below, ["a"], ["m"], domain="local"), node(below, ["m"], ["b"], domain="local")]
            body = calls if level or circle else [node("Relu", ["a"], ["b"])]
            built.functions.append(helper.make_function("local", f"F{level}", ["a"], ["b"], body, built.opset_import))
        return built

    return make


def many_nodes(folder: Path) -> ModelProto:
    names = ["x", *(f"v{i}" for i in range(99_999)), "y"]
    return model([node("Relu", [a], [b]) for a, b in pairwise(names)])


def repeated_squares(folder: Path) -> ModelProto:
    """Shape arithmetic that squares a number 60 times, to 2^60 digits."""
    nodes = [node("Shape", ["x"], ["s0"]), *(node("Mul", [f"s{i}", f"s{i}"], [f"s{i + 1}"]) for i in range(60))]
    return model([*nodes, node("Reshape", ["x", "s60"], ["y"])])


def power(folder: Path) -> ModelProto:
    nodes = [node("Shape", ["x"], ["s"]), constant("e", 1 << 40), node("Pow", ["s", "e"], ["p"])]
    return model([*nodes, node("Reshape", ["x", "p"], ["y"])])


# Shapes


def huge_input(folder: Path) -> ModelProto:
    return model([node("ReduceSum", ["x"], ["y"])], ["N", HUGE])


def huge_batch(folder: Path) -> ModelProto:
    return model([node("Relu", ["x"], ["y"])], [HUGE, 4])


def huge_images(folder: Path) -> ModelProto:
    """Layers that are small in the file, but need terabytes for one sample."""
    upsampled = [constant("s", 1, 1, 4096, 4096), node("Expand", ["x", "s"], ["e"])]
    nodes = [*upsampled, node("Conv", ["e", "w"], ["c"]), node("GlobalAveragePool", ["c"], ["y"])]
    return model(nodes, ["N", 3, 1, 1], weights=[weight(shape=(512, 3, 1, 1))])


def of_constants(*nodes: NodeProto, result: str = "v", opset: int = 17) -> Make:
    """Something huge built only from constants, and summed so that it looks small."""

    def make(folder: Path) -> ModelProto:
        cast = node("Cast", [result], ["f"], to=TensorProto.FLOAT)
        ends = [cast, node("ReduceSum", ["f"], ["t"], keepdims=0), node("Add", ["x", "t"], ["y"])]
        return model([*nodes, *ends], opset=opset)

    return make


def of_data(*nodes: NodeProto, shape: list[int | str] | None = None, result: str = "v") -> Make:
    """Something huge built from x, and summed so that it looks small."""

    def make(folder: Path) -> ModelProto:
        ends = [node("ReduceSum", [result], ["t"], keepdims=0), node("Add", ["x", "t"], ["y"])]
        return model([*nodes, *ends], shape)

    return make


def images(*nodes: NodeProto) -> Make:
    return of_data(*nodes, shape=["N", 3, 8, 8])


def convolution(**attributes: object) -> Make:
    def make(folder: Path) -> ModelProto:
        kernel = weight(shape=(4, 3, 3, 3))
        return model([node("Conv", ["x", "w"], ["y"], **attributes)], ["N", 3, 8, 8], weights=[kernel])

    return make


def pool(kind: str, **attributes: object) -> Make:
    return images(node(kind, ["x"], ["v"], **attributes))


def floats(name: str, *numbers: float) -> NodeProto:
    return node("Constant", [], [name], value=numpy_helper.from_array(np.array(numbers, dtype=np.float32)))


def many_large_constants(folder: Path) -> ModelProto:
    """Many constants of which each alone is allowed."""
    nodes = [constant("n", 1 << 26)]
    for i in range(500):
        nodes += [node("ConstantOfShape", ["n"], [f"c{i}"]), node("ReduceSum", [f"c{i}"], [f"t{i}"], keepdims=0)]
    return model([*nodes, node("Sum", ["x", *(f"t{i}" for i in range(500))], ["y"])])


def product_of_large_constants(folder: Path) -> ModelProto:
    constants = [constant("n", 8000, 8000), node("ConstantOfShape", ["n"], ["a"])]
    return of_constants(*constants, *(node("MatMul", ["a", "a"], ["v"]),))(folder)


def recurrent_over_a_million_steps(folder: Path) -> ModelProto:
    nodes = [
        node("Reshape", ["x", "s"], ["r"]),
        node("RNN", ["r", "w", "u"], ["all", "h"], hidden_size=2),
        node("ReduceSum", ["h"], ["t"], keepdims=0),
        node("ReduceSum", ["x"], ["u1"], keepdims=0),
        node("Add", ["x", "t"], ["y"]),
    ]
    weights = [weight("w", (1, 2, 1)), weight("u", (1, 2, 2)), numpy_helper.from_array(np.array([1 << 20, -1, 1]), "s")]
    return model(nodes, ["N", 1 << 20], weights=weights)


GROWING: dict[str, Make] = {
    "a loop without end": endless,
    "a loop without end by its condition": endless_by_condition,
    "loops in loops": nested_loops,
    "10,000 branches in branches": nested_messages(10_000),
    "200 branches in branches": nested_messages(200),
    "functions that call each other twice": functions(40),
    "functions in a circle": functions(3, circle=True),
    "a function that calls itself": functions(0, circle=True),
    "2,000 functions deep": functions(2000),
    "100,000 nodes": many_nodes,
    "squares of squares": repeated_squares,
    "a power": power,
    "an input of 2^40": huge_input,
    "a batch of 2^40": huge_batch,
    "images that need terabytes": huge_images,
    "many large constants": many_large_constants,
    "a product of large constants": product_of_large_constants,
    "ConstantOfShape": of_constants(constant("n", HUGE), node("ConstantOfShape", ["n"], ["v"])),
    "ConstantOfShape, 2^80": of_constants(constant("n", HUGE, HUGE), node("ConstantOfShape", ["n"], ["v"])),
    "ConstantOfShape, negative": of_constants(constant("n", -5), node("ConstantOfShape", ["n"], ["v"])),
    "Expand": of_constants(constant("n", HUGE), number("o", 1.0), node("Expand", ["o", "n"], ["v"])),
    "Tile": of_constants(constant("n", HUGE), floats("o", 1.0), node("Tile", ["o", "n"], ["v"])),
    "Range": of_constants(number("a", 0), number("b", HUGE), number("c", 1), node("Range", ["a", "b", "c"], ["v"])),
    "Range of step 0": of_constants(
        number("a", 0), number("b", 9), number("c", 0), node("Range", ["a", "b", "c"], ["v"])
    ),
    "Pad": of_constants(constant("n", 0, HUGE), floats("o", 1.0), node("Pad", ["o", "n"], ["v"])),
    "OneHot": of_constants(
        constant("i", 0), number("d", HUGE), floats("o", 0.0, 1.0), node("OneHot", ["i", "d", "o"], ["v"])
    ),
    "EyeLike": of_constants(
        constant("n", 1 << 20, 1 << 20), node("ConstantOfShape", ["n"], ["z"]), node("EyeLike", ["z"], ["v"])
    ),
    "Resize": of_constants(
        constant("n", HUGE), floats("o", 1.0), node("Resize", ["o", "", "", "n"], ["v"], mode="nearest")
    ),
    "Resize by a scale": of_constants(
        floats("n", 1e20), floats("o", 1.0), node("Resize", ["o", "", "n"], ["v"], mode="nearest")
    ),
    "Resize with a wide filter": images(
        floats("n", 1.0, 1.0, 1.0, 1e-12),
        node("Resize", ["x", "", "n"], ["v"], mode="linear", antialias=1),
    ),
    "Range at run time": of_data(
        *(node("Size", ["x"], ["n"]), number("k", HUGE), node("Mul", ["n", "k"], ["m"])),
        *(number("a", 0), number("c", 1), node("Range", ["a", "m", "c"], ["i"])),
        node("Cast", ["i"], ["v"], to=TensorProto.FLOAT),
    ),
    "ConstantOfShape at run time": of_data(
        *(node("Shape", ["x"], ["n"]), number("k", HUGE), node("Mul", ["n", "k"], ["m"])),
        node("ConstantOfShape", ["m"], ["v"]),
    ),
    "shape arithmetic on a vector of 2^40": of_data(
        *(node("Size", ["x"], ["n"]), number("k", HUGE), node("Mul", ["n", "k"], ["m"])),
        *(constant("one", 1), node("Reshape", ["m", "one"], ["r"]), node("ConstantOfShape", ["r"], ["s"])),
        *(node("Concat", ["s", "s"], ["v"], axis=0),),
    ),
    "Expand at run time": of_data(constant("n", HUGE, 1, 1), node("Expand", ["x", "n"], ["v"])),
    "Tile at run time": of_data(constant("n", 1, HUGE), node("Tile", ["x", "n"], ["v"])),
    "Pad at run time": of_data(constant("n", 0, 0, 0, HUGE), node("Pad", ["x", "n"], ["v"])),
    "Pad by the edge": of_data(constant("n", 0, 0, 0, HUGE), node("Pad", ["x", "n"], ["v"], mode="edge")),
    "Pad and crop again": of_data(
        *(constant("n", 0, 0, 0, HUGE), node("Pad", ["x", "n"], ["p"])),
        *(constant("m", 0, 0, 0, -HUGE), node("Pad", ["p", "m"], ["v"])),
    ),
    "Resize at run time": images(constant("n", 1, 1, HUGE, 1), node("Resize", ["x", "", "", "n"], ["v"])),
    "a power of outer products": of_data(
        *(
            constant("a", 1),
            node("Unsqueeze", ["x", "a"], ["r"]),
            constant("b", 2),
            node("Unsqueeze", ["x", "b"], ["c"]),
        ),
        *(constant("n", 1, 1, 1 << 20), node("Expand", ["c", "n"], ["d"]), node("Transpose", ["d"], ["e"])),
        *(node("Expand", ["r", "n"], ["g"]), node("MatMul", ["d", "g"], ["v"])),
    ),
    "a huge stride and padding": pool("MaxPool", kernel_shape=[1, 1], pads=[0, 0, 1 << 31, 0], strides=[1 << 31, 1]),
    "a huge window": pool("AveragePool", kernel_shape=[1 << 31, 1 << 31], pads=[1 << 31] * 4, count_include_pad=1),
    "a huge window over padding": pool("AveragePool", kernel_shape=[4000, 4000], pads=[3999] * 4, count_include_pad=1),
    "a stride of zero": pool("MaxPool", kernel_shape=[2, 2], strides=[0, 0]),
    "a negative stride": pool("AveragePool", kernel_shape=[2, 2], strides=[-1, -1]),
    "a window of zero": pool("AveragePool", kernel_shape=[0, 0], pads=[1, 1, 1, 1]),
    "too few strides": pool("MaxPool", kernel_shape=[2, 2], strides=[1]),
    "a norm of power zero": pool("LpPool", kernel_shape=[2, 2], p=0),
    "Conv, 2^31 groups": convolution(group=1 << 31),
    "Conv, no group": convolution(group=0),
    "Conv, -1 groups": convolution(group=-1),
    "Conv, dilations of 2^31": convolution(dilations=[1 << 31, 1 << 31]),
    "Conv, dilations of 2^62": convolution(dilations=[1 << 62, 1 << 62], auto_pad="SAME_UPPER"),
    "Conv, strides of zero": convolution(strides=[0, 0]),
    "Conv, negative strides": convolution(strides=[-1, -1]),
    "Conv, strides of zero, same": convolution(strides=[0, 0], auto_pad="SAME_UPPER"),
    "Conv, pads of 2^40": convolution(pads=[HUGE] * 4),
    "Conv, pads of 2^40 on one side": convolution(pads=[0, 0, HUGE, HUGE]),
    "Conv, a kernel that is not the weight's": convolution(kernel_shape=[1 << 31, 1 << 31]),
    "Conv, one pad": convolution(pads=[1]),
    "Reshape to negative sizes": of_data(constant("n", -5, -7), node("Reshape", ["x", "n"], ["v"])),
    "Reshape to two unknowns": of_data(constant("n", -1, -1), node("Reshape", ["x", "n"], ["v"])),
    "Einsum with a malformed equation": of_data(node("Einsum", ["x"], ["v"], equation="((((->->...,,")),
    "Einsum of 26 outer products": of_data(
        node("Einsum", ["x"] * 26, ["v"], equation=",".join("abcdefghijklmnopqrstuvwxyz") + "->"),
    ),
    "Einsum of outer products": of_data(
        node("Einsum", ["x"] * 12, ["v"], equation=",".join(f"n{c}" for c in "abcdefghijkl") + "->nabcdefghijkl"),
        shape=["N", 64],
    ),
    "Einsum of a megabyte": of_data(node("Einsum", ["x"], ["v"], equation="a" * (1 << 20))),
    "a recurrent layer over 2^20 steps": recurrent_over_a_million_steps,
    "a product of 2^24 by 2^24": of_data(
        *(constant("n", 1, 1 << 18), node("Tile", ["x", "n"], ["w"]), node("Transpose", ["w"], ["t"])),
        node("MatMul", ["t", "w"], ["v"]),
    ),
    "the smallest integer by -1": of_constants(
        number("a", -(1 << 63)), number("b", -1), node("Div", ["a", "b"], ["v"])
    ),
    "too many operations": images(
        *(constant("n", 1, 1, 512, 512), node("Tile", ["x", "n"], ["t"])),
        *(floats("k", 1.0), constant("s", 64, 3, 511, 511), node("Expand", ["k", "s"], ["w"])),
        node("Conv", ["t", "w"], ["v"]),
    ),
}


@pytest.mark.parametrize("name", GROWING)
def test_growing_file_is_refused(tmp_path: Path, name: str) -> None:
    code, message = run(GROWING[name], tmp_path)
    assert code == 3
    assert "onnxruntime" not in message, "the package's own checks must come first"


# Files that look dangerous but are harmless


def huge_metadata(folder: Path) -> ModelProto:
    built = linear()
    helper.set_model_props(built, {"notes": "n" * (1 << 24), "zskd.other": "fine"})
    built.doc_string = "d" * (1 << 24)
    return built


HARMLESS: dict[str, Make] = {
    "metadata of 16 MB": huge_metadata,
    "5 branches in branches": branches(5),
    "functions of functions": functions(6),
    "a loop that no output needs": endless_and_unused,
    "a loop without end behind another output": endless_behind_another_output,
    "a division by -1 in a branch that is never taken": division_in_a_branch_not_taken,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_file_is_read(tmp_path: Path, name: str) -> None:
    code, message = run(HARMLESS[name], tmp_path)
    assert code == 0, message
