"""Small graphs of each kind of weight, as (nodes, sample shape, tensors) for ``save_model``."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

Net = tuple[list[onnx.NodeProto], list[int], dict[str, Tensor]]

node = helper.make_node


def random(*shape: int) -> Tensor:
    """Numbers that differ with the shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) / 3


def convolution() -> Net:
    """Conv with a BatchNormalization, a pooling that could be fused, a depthwise Conv, a residual sum, Gemm."""
    tensors = {
        "conv1.weight": random(4, 3, 3, 3),
        "conv1.bias": random(4),
        "bn1.weight": random(4) + 1,
        "bn1.bias": random(4),
        "bn1.running_mean": random(4),
        "bn1.running_var": random(4).abs() + 0.5,
        "conv2.weight": random(4, 4, 3, 3),
        "scale.weight": random(4, 1, 1, 1),
        "fc.weight": random(3, 4),
        "fc.bias": random(3),
    }
    nodes = [
        node("Conv", ["x", "conv1.weight", "conv1.bias"], ["c1"], pads=[1, 1, 1, 1]),
        node(
            "BatchNormalization",
            ["c1", *[k for k in tensors if k.startswith("bn1")]],
            ["b1"],
            epsilon=1e-4,
            momentum=0.8,
        ),
        node("Relu", ["b1"], ["r1"]),
        node("Conv", ["r1", "conv2.weight"], ["c2"], pads=[1, 1, 1, 1]),
        node("MaxPool", ["c2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["r1", "scale.weight"], ["s1"], group=4),
        node("MaxPool", ["s1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Add", ["p1", "p2"], ["sum"]),
        node("GlobalAveragePool", ["sum"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], transB=1),
    ]
    return nodes, [3, 8, 8], tensors


def behind_casts() -> Net:
    """A BatchNormalization whose tensors are behind Identity and Cast."""
    tensors = {"w": random(4, 3), "s": random(3) + 1, "b": random(3), "m": random(3).half(), "v": random(3).abs() + 1}
    nodes = [
        node("MatMul", ["x", "w"], ["p"]),
        node("Cast", ["m"], ["mean"], to=TensorProto.FLOAT),
        node("Identity", ["v"], ["variance"]),
        node("Identity", ["s"], ["scale"]),
        node("BatchNormalization", ["p", "scale", "b", "mean", "variance"], ["y"]),
    ]
    return nodes, [4], tensors


def perceptron() -> Net:
    """MatMul and Add, behind a scaling of the input and before a temperature; Dropout and PRelu."""
    tensors = {
        "mean": random(6),
        "std": random(6).abs() + 1,
        "w1": random(6, 5),
        "b1": random(5),
        "slope": random(1),
        "w2": random(5, 3),
        "b2": random(3),
        "temperature": torch.tensor([2.0]),
    }
    nodes = [
        node("Sub", ["x", "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["scaled"]),
        node("MatMul", ["scaled", "w1"], ["m1"]),
        node("Add", ["m1", "b1"], ["a1"]),
        node("Dropout", ["a1"], ["d1"]),
        node("PRelu", ["d1", "slope"], ["p1"]),
        node("MatMul", ["p1", "w2"], ["m2"]),
        node("Add", ["b2", "m2"], ["a2"]),
        node("Div", ["a2", "temperature"], ["y"]),
    ]
    return nodes, [6], tensors


def recurrent() -> Net:
    """An LSTM over a sequence, and its last state."""
    tensors = {
        "W": random(1, 16, 3),
        "R": random(1, 16, 4),
        "B": random(1, 32),
        "fc": random(4, 3),
        "zero": torch.tensor([0]),
    }
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("LSTM", ["t", "W", "R", "B"], ["", "h"], hidden_size=4),
        node("Squeeze", ["h", "zero"], ["s"]),
        node("MatMul", ["s", "fc"], ["y"]),
    ]
    return nodes, [5, 3], tensors


def attention() -> Net:
    """Tokens with a class token for each sample, positions, masked attention, LayerNormalization, LayerScale."""
    tensors = {
        "embed": random(3, 4),
        "cls": random(1, 1, 4),
        "positions": random(1, 6, 4),
        "first": torch.tensor([0]),
        "rest": torch.tensor([1, 4]),
        "qkv": random(4, 12),
        "qkv_bias": random(12),
        "half": torch.tensor(0.5),
        "mask": torch.where(torch.ones(6, 6).tril() > 0, 0.0, -50.0),
        "gamma": random(4),
        "norm": random(4) + 1,
        "norm_bias": random(4),
        "fc": random(4, 3),
    }
    nodes = [
        node("MatMul", ["x", "embed"], ["e"]),
        node("Shape", ["x"], ["sizes"]),
        node("Gather", ["sizes", "first"], ["batch"]),
        node("Concat", ["batch", "rest"], ["target"], axis=0),
        node("Expand", ["cls", "target"], ["token"]),
        node("Concat", ["token", "e"], ["tokens"], axis=1),
        node("Add", ["tokens", "positions"], ["h"]),
        node("MatMul", ["h", "qkv"], ["m"]),
        node("Add", ["m", "qkv_bias"], ["a"]),
        node("Split", ["a"], ["q", "k", "v"], axis=2),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["scores"]),
        node("Mul", ["scores", "half"], ["scaled"]),
        node("Add", ["scaled", "mask"], ["masked"]),
        node("Softmax", ["masked"], ["p"], axis=-1),
        node("MatMul", ["p", "v"], ["o"]),
        node("Mul", ["o", "gamma"], ["g"]),
        node("Add", ["g", "h"], ["r"]),
        node("LayerNormalization", ["r", "norm", "norm_bias"], ["n"], axis=-1),
        node("ReduceMean", ["n"], ["mean"], axes=[1], keepdims=0),
        node("MatMul", ["mean", "fc"], ["y"]),
    ]
    return nodes, [5, 3], tensors


def half_precision() -> Net:
    """Half-precision layers between casts; one weight is stored in float32."""
    tensors = {
        "c": random(4, 3, 3, 3).half(),
        "s": (random(4) + 1).half(),
        "b": random(4).half(),
        "m": random(4).half(),
        "v": (random(4).abs() + 1).half(),
        "w": random(4, 3).half(),
        "bias": random(3),
    }
    nodes = [
        node("Cast", ["x"], ["xh"], to=TensorProto.FLOAT16),
        node("Conv", ["xh", "c"], ["c1"]),
        node("BatchNormalization", ["c1", "s", "b", "m", "v"], ["n"]),
        node("GlobalAveragePool", ["n"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("MatMul", ["f", "w"], ["p"]),
        node("Cast", ["bias"], ["bias_half"], to=TensorProto.FLOAT16),
        node("Add", ["p", "bias_half"], ["a"]),
        node("Cast", ["a"], ["y"], to=TensorProto.FLOAT),
    ]
    return nodes, [3, 6, 6], tensors


def brain_floats() -> Net:
    """Weights in bfloat16, behind casts."""
    tensors = {"w": random(4, 3), "b": random(3)}
    nodes = [
        node(
            "Constant",
            [],
            ["stored"],
            value=helper.make_tensor("", TensorProto.BFLOAT16, [4, 3], random(4, 3).flatten()),
        ),
        node("Cast", ["stored"], ["single"], to=TensorProto.FLOAT),
        node("MatMul", ["x", "single"], ["m"]),
        node("Tanh", ["m"], ["t"]),
        node("Transpose", ["stored"], ["t2"], perm=[1, 0]),
        node("Cast", ["t2"], ["single2"], to=TensorProto.FLOAT),
        node("MatMul", ["t", "single2"], ["m2"]),
        node("Gemm", ["m2", "w", "b"], ["y"]),
    ]
    return nodes, [4], tensors


def channels_last() -> Net:
    """Positions before channels, as Keras has them: a kernel that is transposed in the graph."""
    tensors = {"kernel": random(3, 3, 3, 4), "bias": random(4), "flat": torch.tensor([-1, 64]), "dense": random(64, 3)}
    nodes = [
        node("Transpose", ["x"], ["nchw"], perm=[0, 3, 1, 2]),
        node("Transpose", ["kernel"], ["k"], perm=[3, 2, 0, 1]),
        node("Conv", ["nchw", "k", "bias"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("Transpose", ["r"], ["nhwc"], perm=[0, 2, 3, 1]),
        node("Reshape", ["nhwc", "flat"], ["f"]),
        node("MatMul", ["f", "dense"], ["y"]),
    ]
    return nodes, [6, 6, 3], tensors


def shared() -> Net:
    """One weight that two layers read, once transposed."""
    tensors = {"w": random(4, 4)}
    nodes = [
        node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        node("MatMul", ["x", "w"], ["a"]),
        node("Tanh", ["a"], ["t"]),
        node("MatMul", ["t", "wt"], ["y"]),
    ]
    return nodes, [4], tensors


def behind_nodes() -> Net:
    """Weights in Constant nodes, behind Identity and Cast, in double precision, and with odd names."""
    tensors = {
        "a": random(4, 6).double(),
        "a.b": random(6),
        "lambda": random(6),
        'q"\\': random(6, 6),
        "graph": random(3),
    }
    stored = numpy_helper.from_array(random(6, 3).numpy())
    nodes = [
        node("Constant", [], ["last"], value=stored),
        node("Constant", [], ["listed"], value_floats=random(3).tolist()),
        node("Cast", ["a"], ["single"], to=TensorProto.FLOAT),
        node("Identity", ["a.b"], ["same"]),
        node("MatMul", ["x", "single"], ["m1"]),
        node("Add", ["m1", "same"], ["a1"]),
        node("Mul", ["a1", "lambda"], ["l1"]),
        node("MatMul", ["l1", 'q"\\'], ["m2"]),
        node("MatMul", ["m2", "last"], ["m3"]),
        node("Add", ["m3", "listed"], ["a3"]),
        node("Add", ["a3", "graph"], ["y"]),
    ]
    return nodes, [4], tensors


NETS: dict[str, Callable[[], Net]] = {
    make.__name__: make
    for make in (
        *(convolution, perceptron, recurrent, attention, half_precision),
        *(brain_floats, channels_last, shared, behind_nodes, behind_casts),
    )
}

TOLERANCE = {"half_precision": 2e-3, "brain_floats": 5e-3, "behind_casts": 2e-3}
"""Net -> the difference that rounding to its half-precision type makes; 1e-5 for the others."""
