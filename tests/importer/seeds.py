"""Small valid classifiers of many kinds, which the fuzz tests mutate."""

from __future__ import annotations

from importlib import resources

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

node = helper.make_node


class _Weights:
    """Creates initialisers with random or given values."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.tensors: list[TensorProto] = []

    def normal(self, *shape: int) -> str:
        return self.array(self.rng.standard_normal(shape).astype(np.float32) / 2)

    def positive(self, *shape: int) -> str:
        return self.array(self.rng.random(shape, dtype=np.float32) + 0.5)

    def integers(self, *numbers: int) -> str:
        return self.array(np.array(numbers, dtype=np.int64))

    def array(self, array: np.ndarray) -> str:
        name = f"w{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(array, name))
        return name


def _model(nodes: list[NodeProto], shape: list[int | str], weights: _Weights, *, name: str = "x") -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights.tensors,
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def convolutional() -> ModelProto:
    """Convolutions, pooling, padding and resizing."""
    w = _Weights()
    statistics = [w.normal(4), w.normal(4), w.normal(4), w.positive(4)]
    nodes = [
        node("Conv", ["x", w.normal(4, 3, 3, 3), w.normal(4)], ["c"], pads=[1, 1, 1, 1], strides=[1, 1], group=1),
        node("BatchNormalization", ["c", *statistics], ["b"], epsilon=1e-5),
        node("Relu", ["b"], ["r"]),
        node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("ConvTranspose", ["m", w.normal(4, 2, 2, 2)], ["t"], strides=[2, 2]),
        node("AveragePool", ["t"], ["a"], kernel_shape=[3, 3], pads=[1, 0, 1, 0], count_include_pad=1),
        node("Pad", ["a", w.integers(0, 0, 1, 1, 0, 0, 0, 0)], ["p"], mode="reflect"),
        node("Resize", ["p", "", w.array(np.array([1, 1, 1.5, 1.5], np.float32))], ["z"], mode="linear"),
        node("GlobalAveragePool", ["z"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", w.normal(5, 2), w.normal(5)], ["l"], transB=1),
        node("Softmax", ["l"], ["y"], axis=1),
    ]
    return _model(nodes, [1, 3, 8, 8], w)


def attention() -> ModelProto:
    """Attention with the shape arithmetic that exporters write."""
    w = _Weights()
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", w.array(np.array(0))], ["n"], axis=0),
        node("Unsqueeze", ["n", w.integers(0)], ["n1"]),
        node("Concat", ["n1", w.integers(4, 2, 4)], ["split"], axis=0),
        node("LayerNormalization", ["x", w.positive(8), w.normal(8)], ["h"], axis=-1),
    ]
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            node("MatMul", ["h", w.normal(8, 8)], [f"{name}0"]),
            node("Reshape", [f"{name}0", "split"], [f"{name}1"]),
            node("Transpose", [f"{name}1"], [name], perm=perm),
        ]
    nodes += [
        node("MatMul", ["q", "k"], ["scores"]),
        node("Div", ["scores", w.array(np.array(2, dtype=np.float32))], ["scaled"]),
        node("Softmax", ["scaled"], ["p"], axis=-1),
        node("MatMul", ["p", "v"], ["o"]),
        node("Transpose", ["o"], ["o1"], perm=[0, 2, 1, 3]),
        node("Reshape", ["o1", w.integers(0, 0, -1)], ["o2"]),
        node("Add", ["x", "o2"], ["r"]),
        node("Erf", ["r"], ["e"]),
        node("Mul", ["r", "e"], ["u"]),
        node("Slice", ["u", w.integers(0), w.integers(1), w.integers(1), w.integers(1)], ["c"]),
        node("Squeeze", ["c", w.integers(1)], ["c1"]),
        node("Gemm", ["c1", w.normal(8, 5), w.normal(5)], ["y"]),
    ]
    images = [node("Reshape", ["image", w.integers(0, 4, 8)], ["x"]), *nodes]
    return _model(images, ["N", 1, 4, 8], w, name="image")


def quantised() -> ModelProto:
    """Quantised layers, in QDQ form and as QLinearConv."""
    w = _Weights()
    scale, zero = w.array(np.float32(0.05).reshape(())), w.array(np.array(3, dtype=np.int8))
    kernel = w.array(w.rng.integers(-127, 127, (4, 1, 3, 3), dtype=np.int8))
    matrix = w.array(w.rng.integers(-127, 127, (5, 144), dtype=np.int8))
    scales, zeros = w.positive(4), w.array(np.zeros(4, dtype=np.int8))
    bias = w.array(w.rng.integers(-99, 99, 4, dtype=np.int32))
    nodes = [
        node("QuantizeLinear", ["x", scale, zero], ["q"]),
        node("DequantizeLinear", ["q", scale, zero], ["d"]),
        node("DequantizeLinear", [kernel, scales, zeros], ["k"], axis=0),
        node("Conv", ["d", "k"], ["c"]),
        node("QuantizeLinear", ["c", scale, zero], ["cq"]),
        node("QLinearConv", ["q", scale, zero, kernel, scale, zero, scale, zero, bias], ["cc"]),
        node("DequantizeLinear", ["cq", scale, zero], ["cd"]),
        node("DequantizeLinear", ["cc", scale, zero], ["ccd"]),
        node("Add", ["cd", "ccd"], ["s"]),
        node("Flatten", ["s"], ["f"]),
        node("DequantizeLinear", [matrix, scale, zero], ["m"]),
        node("Gemm", ["f", "m"], ["y"], transB=1),
    ]
    return _model(nodes, ["N", 1, 8, 8], w)


def recurrent() -> ModelProto:
    """An LSTM and a GRU."""
    w = _Weights()
    nodes = [
        node("Reshape", ["x", w.integers(-1, 3, 4)], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[1, 0, 2]),
        node(
            "LSTM",
            ["t", w.normal(2, 24, 4), w.normal(2, 24, 6), w.normal(2, 48)],
            ["all", "h"],
            hidden_size=6,
            direction="bidirectional",
        ),
        node("GRU", ["t", w.normal(1, 18, 4), w.normal(1, 18, 6)], ["", "g"], hidden_size=6),
        node("Concat", ["h", "g"], ["c"], axis=0),
        node("ReduceMean", ["c"], ["m"], axes=[0], keepdims=0),
        node("MatMul", ["m", w.normal(6, 5)], ["y"]),
    ]
    return _model(nodes, ["N", 12], w)


def linear_classifier() -> ModelProto:
    """A linear classifier of scikit-learn."""
    rng = np.random.default_rng(0)
    classifier = node(
        "LinearClassifier",
        ["x"],
        ["label", "y"],
        domain="ai.onnx.ml",
        coefficients=rng.standard_normal(12).tolist(),
        intercepts=[0.1, 0.2, 0.3],
        classlabels_ints=[0, 1, 2],
        post_transform="SOFTMAX",
    )
    return _model([classifier], ["N", 4], _Weights())


def control_flow() -> ModelProto:
    """A branch, a loop and a function, with a constant condition and trip count."""
    w = _Weights()

    def scalar(name: str, kind: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, [])

    def tensor(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)

    then = helper.make_graph([node("Relu", ["x"], ["a"])], "then", [], [tensor("a")])
    other = helper.make_graph([node("Neg", ["x"], ["b"])], "else", [], [tensor("b")])
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Tanh", ["state"], ["next"])],
        "body",
        [scalar("i", TensorProto.INT64), scalar("go", TensorProto.BOOL), tensor("state")],
        [scalar("on", TensorProto.BOOL), tensor("next")],
    )
    yes, trips = w.array(np.array(True)), w.array(np.array(3))
    nodes = [
        node("If", [yes], ["f"], then_branch=then, else_branch=other),
        node("Loop", [trips, yes, "f"], ["l"], body=body),
        node("Twice", ["l"], ["d"], domain="local"),
        node("Gemm", ["d", w.normal(4, 5)], ["y"]),
    ]
    model = _model(nodes, ["N", 4], w)
    twice = helper.make_function("local", "Twice", ["p"], ["q"], [node("Add", ["p", "p"], ["q"])], model.opset_import)
    model.functions.append(twice)
    return model


def digits() -> ModelProto:
    """The classifier of 8x8 digits that the package contains."""
    return onnx.load_from_string((resources.files("zskd_onnx.assets") / "digits_teacher.onnx").read_bytes())


SEEDS = {
    build.__name__: build()
    for build in (digits, convolutional, attention, quantised, recurrent, linear_classifier, control_flow)
}
"""Name -> model."""
