"""Scaling and layout at the start of the graph, judged by onnxruntime: file(x) is net(scale * x + shift)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import NodeProto, TensorProto, helper

from tests.conftest import SaveModel
from tests.teacher.signature.writings import WRITINGS
from zskd_onnx.importer.file.source import read_onnx_file
from zskd_onnx.importer.passes import clean
from zskd_onnx.pipeline.plan import prepare
from zskd_onnx.system.onnx_runtime import open_session, run
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.signature.input_scaling import InputScaling, trace_input_scaling

node = helper.make_node
MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
SIZE = 6


@dataclass
class Graph:
    """Nodes from the input 'x' on; ``scaled`` tells whether those that scale are written or left out."""

    scaled: bool
    nodes: list[NodeProto] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(self, kind: str, value: str, *constants: object, **attributes: object) -> str:
        """Add a node, and return its output."""
        names = []
        for constant in constants:
            names.append(f"constant{len(self.weights)}")
            self.weights[names[-1]] = torch.as_tensor(constant)
        out = f"value{len(self.nodes)}"
        self.nodes.append(node(kind, [value, *names], [out], **attributes))
        return out

    def scale(self, value: str, mean: object = MEAN, std: object = STD, *, after: int = 2) -> str:
        """Subtract a mean and divide by a deviation per channel, which has ``after`` axes behind it."""
        if not self.scaled:
            return value
        for kind, numbers in (("Sub", mean), ("Div", std)):
            value = self.add(kind, value, torch.tensor(numbers).view(-1, *(1,) * after))
        return value

    def merge(self, values: list[str], axis: int = 1) -> str:
        self.nodes.append(node("Concat", values, ["merged"], axis=axis))
        return "merged"


def split_and_concat(g: Graph) -> str:
    g.nodes.append(node("Split", ["x"], ["red", "green", "blue"], axis=1, num_outputs=3))
    return g.scale(g.merge(["blue", "green", "red"]))


def channel_by_channel(g: Graph) -> str:
    """As torchvision's Inception transforms its input."""
    parts = []
    for i in (2, 0, 1):
        part = g.add("Unsqueeze", g.add("Gather", "x", i, axis=1), [1])
        if g.scaled:
            part = g.add("Add", g.add("Mul", part, 0.02 + 0.001 * i), -2.0 + 0.1 * i)
        parts.append(part)
    return g.merge(parts)


def between(g: Graph) -> str:
    """The mean before the flip, the deviation after it."""
    value = g.scale("x", std=(1.0, 1.0, 1.0))
    value = g.add("Slice", value, [2], [-10], [1], [-1])
    return g.scale(value, mean=(0.0, 0.0, 0.0))


def resize(g: Graph, value: str) -> str:
    g.weights["factors"] = torch.tensor([1.0, 1, 2, 2])
    g.nodes.append(node("Resize", [value, "", "factors"], ["resized"], mode="nearest"))
    return "resized"


NCHW: dict[str, Callable[[Graph], str]] = {
    "at the start": lambda g: g.scale("x"),
    "Gather flips": lambda g: g.scale(g.add("Gather", "x", [2, 1, 0], axis=1)),
    "GatherND flips": lambda g: g.scale(
        g.add(
            "Transpose",
            g.add("GatherND", g.add("Transpose", "x", perm=[1, 0, 2, 3]), [[2], [1], [0]]),
            perm=[1, 0, 2, 3],
        )
    ),
    "Slice flips": lambda g: g.scale(g.add("Slice", "x", [-1], [-(2**63)], [1], [-1])),
    "Split and Concat flip": split_and_concat,
    "channel by channel": channel_by_channel,
    "on both sides of a flip": between,
    "Resize": lambda g: g.scale(resize(g, "x")),
    "crop": lambda g: g.scale(g.add("Slice", "x", [1, 1], [5, 5], [2, 3])),
    "crop of a flip": lambda g: g.scale(g.add("Slice", g.add("Gather", "x", [1, 2, 0], axis=1), [1], [5], [3])),
    "Pad": lambda g: g.scale(g.add("Pad", "x", [0, 0, 1, 1, 0, 0, 1, 1], mode="edge")),
    "Clip": lambda g: g.scale(g.add("Clip", "x", 0.0, 255.0) if g.scaled else "x"),
    "Cast": lambda g: g.scale(g.add("Cast", "x", to=TensorProto.FLOAT)),
    "Unsqueeze and Squeeze": lambda g: g.add("Squeeze", g.scale(g.add("Unsqueeze", "x", [1])), [1]),
    "Reshape": lambda g: g.add("Reshape", g.scale(g.add("Reshape", "x", [-1, 1, 3, SIZE, SIZE])), [-1, 3, SIZE, SIZE]),
    "to NHWC and back": lambda g: g.add(
        "Transpose", g.scale(g.add("Transpose", "x", perm=[0, 2, 3, 1]), after=0), perm=[0, 3, 1, 2]
    ),
    "negative deviation": lambda g: g.scale("x", std=(-58.4, -57.1, -57.4)),
}
NHWC: dict[str, Callable[[Graph], str]] = {
    "Transpose": lambda g: g.scale(g.add("Transpose", "x", perm=[0, 3, 1, 2])),
    "before Transpose": lambda g: g.add("Transpose", g.scale("x", after=0), perm=[0, 3, 1, 2]),
    "flip, Transpose": lambda g: g.scale(
        g.add("Transpose", g.add("Gather", "x", [2, 1, 0], axis=3), perm=[0, 3, 1, 2])
    ),
    "flip, scaling, Transpose": lambda g: g.add(
        "Transpose", g.scale(g.add("Slice", "x", [2], [-9], [3], [-1]), after=0), perm=[0, 3, 1, 2]
    ),
}


def trace(path: Path) -> InputScaling:
    model = read_onnx_file(path, None).model
    clean(model)
    value = model.graph.inputs[0]
    assert value.shape is not None
    return trace_input_scaling(value, tuple(n for n in value.shape[1:] if isinstance(n, int)))


def convolutional(save_model: SaveModel, g: Graph, value: str, shape: list[int | str]) -> Path:
    """The graph, then a small convolutional net."""
    rng = torch.Generator().manual_seed(0)
    nodes = [
        node("Conv", [value, "k"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    weights = {"k": torch.randn(4, 3, 3, 3, generator=rng), "w": torch.randn(5, 4, generator=rng)}
    name = "scaled.onnx" if g.scaled else "plain.onnx"
    return save_model([*g.nodes, *nodes], shape, ["N", 5], {**g.weights, **weights}, name=name, opset=18)


@pytest.mark.parametrize(
    ("layout", "build"),
    [pytest.param("NCHW", f, id=name) for name, f in NCHW.items()]
    + [pytest.param("NHWC", f, id=f"NHWC {name}") for name, f in NHWC.items()],
)
def test_scaling_behind_what_only_moves_values(save_model: SaveModel, layout: str, build: Callable) -> None:
    shape = ["N", 3, SIZE, SIZE] if layout == "NCHW" else ["N", SIZE, SIZE, 3]
    graphs = [Graph(scaled) for scaled in (True, False)]
    scaled, plain = (convolutional(save_model, g, build(g), shape) for g in graphs)
    traced = trace(scaled)
    assert (traced.layout, traced.image_range()) == (layout, (0.0, 255.0))
    assert trace(plain).scale is None

    x = np.random.default_rng(0).uniform(0, 255, (4, *shape[1:])).astype(np.float32)
    per_channel = (1, -1, 1, 1) if layout == "NCHW" else (1, 1, 1, -1)
    assert traced.scale is not None
    assert traced.shift is not None
    mapped = traced.scale.reshape(per_channel) * x + traced.shift.reshape(per_channel)
    (expected,) = run(open_session(scaled), x)
    (values,) = run(open_session(plain), mapped.astype(np.float32))
    np.testing.assert_allclose(values, expected, atol=2e-4)
    assert np.ptp(expected) > 0.1


def affine(g: Graph, *steps: tuple[str, object]) -> str:
    value = "x"
    for kind, constant in steps:
        value = g.add(kind, value, constant)
    return value


NOTHING: dict[str, Callable[[Graph], str]] = {
    "subtracts 0, divides by 1": lambda g: affine(g, ("Sub", torch.zeros(1, 3, 1, 1)), ("Div", 1.0)),
    "an average image of zeros": lambda g: affine(g, ("Sub", torch.zeros(1, 3, SIZE, SIZE))),
    "adds and subtracts the same": lambda g: affine(g, ("Add", 2.0), ("Sub", 2.0)),
    "no node": lambda g: "x",
}


@pytest.mark.parametrize("build", NOTHING.values(), ids=NOTHING)
def test_scaling_that_does_nothing_is_no_evidence(save_model: SaveModel, build: Callable[[Graph], str]) -> None:
    g = Graph(scaled=True)
    path = convolutional(save_model, g, build(g), ["N", 3, SIZE, SIZE])
    traced = trace(path)
    assert (traced.scale, traced.shift, traced.image_range()) == (None, None, None)
    assert traced.layout == "NCHW"


def test_an_average_image_counts_as_its_mean(save_model: SaveModel) -> None:
    g = Graph(scaled=True)
    image = torch.rand((3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)) * 20 + 100
    traced = trace(convolutional(save_model, g, affine(g, ("Sub", image)), ["N", 3, SIZE, SIZE]))
    assert traced.image_range() == (0, 255)


@pytest.mark.parametrize("where", ["beside the input", "behind the scaling"])
def test_shape_does_not_stop_the_trace(save_model: SaveModel, where: str) -> None:
    g = Graph(scaled=True)
    value = g.scale(g.add("Gather", "x", [2, 1, 0], axis=1))
    g.nodes.append(node("Shape", ["x" if where == "beside the input" else value], ["shape"]))
    value = g.add("Unsqueeze", value, [1])
    g.nodes.append(node("Concat", ["shape", "ones"], ["longer"], axis=0))
    g.weights["ones"] = torch.tensor([1])
    g.nodes += [node("Expand", ["longer", "four"], ["same"])]
    g.weights["four"] = torch.tensor([5])
    value = g.add("Squeeze", value, [1])
    traced = trace(convolutional(save_model, g, value, ["N", 3, SIZE, SIZE]))
    assert traced.image_range() == (0, 255)


def test_two_first_layers_with_other_scaling_show_none(save_model: SaveModel) -> None:
    weights = {"k": torch.ones(3, 3, 1, 1), "most": torch.tensor(255.0), "w": torch.ones(2, 3)}
    nodes = [
        *(node("Div", ["x", "most"], ["small"]), node("Conv", ["small", "k"], ["a"]), node("Conv", ["x", "k"], ["b"])),
        *(node("Add", ["a", "b"], ["sum"]), node("GlobalAveragePool", ["sum"], ["p"]), node("Flatten", ["p"], ["f"])),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    traced = trace(save_model(nodes, ["N", 3, SIZE, SIZE], ["N", 2], weights))
    assert (traced.scale, traced.layout) == (None, "NCHW")


def test_the_scaling_before_a_quantiser_says_more_than_its_calibration(save_model: SaveModel) -> None:
    def quantised(g: Graph, value: str) -> Path:
        for kind in ("QuantizeLinear", "DequantizeLinear"):
            value = g.add(kind, value, torch.tensor(0.0037), torch.tensor(0, dtype=torch.uint8))
        return convolutional(save_model, g, value, ["N", 3, SIZE, SIZE])

    g = Graph(scaled=True)
    traced = trace(quantised(g, affine(g, ("Div", 255.0))))
    assert (traced.quantised, traced.scaled_range(3)) == (None, (0, 255))
    traced = trace(quantised(Graph(scaled=True), "x"))
    assert traced.quantised is not None
    np.testing.assert_allclose(np.ravel(traced.quantised), [0, 255 * 0.0037], rtol=1e-6)


def test_vectors(save_model: SaveModel) -> None:
    """Each feature's mean and deviation in the file's order, behind a selection of features; a mere division."""

    def vectors(g: Graph, value: str, features: int) -> Path:
        weights = {**g.weights, "w": torch.ones(4, features)}
        gemm = node("Gemm", [value, "w"], ["y"], transB=1)
        return save_model([*g.nodes, gemm], ["N", 3], ["N", 4], weights, opset=18)

    g = Graph(scaled=True)
    value = affine(g, ("Sub", torch.tensor([10.0, 20, 30])), ("Div", torch.tensor([1.0, 2, 3])))
    low, high = trace(vectors(g, value, 3)).scaled_range(1)
    np.testing.assert_allclose([low, high], [[7, 14, 21], [13, 26, 39]])
    g = Graph(scaled=True)
    value = g.scale(g.add("Gather", "x", [2, 0], axis=1), (30.0, 10.0), (3.0, 1.0), after=0)
    low, high = trace(vectors(g, value, 2)).scaled_range(1)
    np.testing.assert_allclose(np.array([low, high])[:, [0, 2]], [[7, 21], [13, 39]])
    g = Graph(scaled=True)
    assert trace(vectors(g, affine(g, ("Div", 255.0)), 3)).scaled_range(1) == (0, 255)


def test_comparison_with_levels_is_no_scaling(save_model: SaveModel) -> None:
    """One number of the input, less each of several constants."""
    nodes = [
        *(node("Flatten", ["x"], ["flat"]), node("Gather", ["flat", "first"], ["one"], axis=1)),
        *(node("Sub", ["one", "levels"], ["above"]), node("Abs", ["above"], ["gap"]), node("Neg", ["gap"], ["y"])),
    ]
    weights = {"first": torch.tensor([0]), "levels": torch.tensor([0.0, 0.3, 0.6, 1.0])}
    assert trace(save_model(nodes, ["N", 1, 4, 4], ["N", 4], weights)).scale is None


def sequence(save_model: SaveModel, nodes: list[NodeProto], width: int, weights: dict[str, torch.Tensor]) -> Path:
    """Nodes from 'x' (N, 40, 13) to 'h' (N, width), then a fully connected layer."""
    final = node("Gemm", ["h", "w"], ["y"], transB=1)
    return save_model([*nodes, final], ["N", 40, 13], ["N", 5], {**weights, "w": torch.randn(5, width)}, opset=13)


def recurrent(perm: list[int], features: int, *, shape: bool) -> tuple[list[NodeProto], dict[str, torch.Tensor]]:
    """An LSTM as tf2onnx writes it, with a start state as large as the batch if ``shape``."""
    size = 4
    start = [
        *(node("Shape", ["x"], ["sizes"]), node("Gather", ["sizes", "zero"], ["n"])),
        *(node("Concat", ["one", "n", "width"], ["state"], axis=0), node("ConstantOfShape", ["state"], ["h0"])),
    ]
    nodes = [
        *(start if shape else []),
        node("Transpose", ["x"], ["steps"], perm=perm),
        node("LSTM", ["steps", "W", "R", *(["", "", "h0", "h0"] if shape else [])], ["", "last"], hidden_size=size),
        node("Squeeze", ["last", "zero"], ["h"]),
    ]
    weights = {
        **{"W": torch.randn(1, 4 * size, features), "R": torch.randn(1, 4 * size, size)},
        **{"zero": torch.tensor([0]), "one": torch.tensor([1]), "width": torch.tensor([size])},
    }
    return nodes, weights


@pytest.mark.parametrize("shape", [False, True])
@pytest.mark.parametrize(("perm", "layout"), [([1, 0, 2], "NLC"), ([2, 0, 1], "NCL")])
def test_an_lstm_shows_the_layout(save_model: SaveModel, perm: list[int], layout: str, shape: bool) -> None:
    nodes, weights = recurrent(perm, 13 if layout == "NLC" else 40, shape=shape)
    traced = trace(sequence(save_model, nodes, 4, weights))
    assert traced.layout == layout
    assert "LSTM" in traced.layout_node


def test_a_convolution_of_two_dimensions_shows_the_layout_of_a_sequence(save_model: SaveModel) -> None:
    """As Keras' exporter writes Conv1D."""
    nodes = [
        *(node("Unsqueeze", ["x", "two"], ["u"]), node("Transpose", ["u"], ["t"], perm=[0, 3, 2, 1])),
        *(node("Conv", ["t", "k"], ["c"]), node("GlobalAveragePool", ["c"], ["p"]), node("Flatten", ["p"], ["h"])),
    ]
    weights = {"two": torch.tensor([2]), "k": torch.randn(6, 13, 1, 3)}
    assert trace(sequence(save_model, nodes, 6, weights)).layout == "NLC"


def test_a_default_layout_is_a_warning(save_model: SaveModel) -> None:
    path = sequence(save_model, [node("Flatten", ["x"], ["h"])], 520, {})
    domain = load_teacher(path, input_range=(0, 1)).domain
    assert (domain.layout, domain.layout_source) == ("NCL", "default")
    assert "--layout NLC" in str(domain.layout_warning)
    assert domain.layout_warning in prepare(path, input_range=(0, 1), recipe="zskd-uniform", student="cnn-small").notes
    domain = load_teacher(path, input_range=(0, 1), layout="NLC").domain
    assert (domain.layout_source, domain.layout_warning) == ("option", None)


def test_a_long_chain_is_not_followed_to_its_end(save_model: SaveModel) -> None:
    g = Graph(scaled=True)
    value = "x"
    for _ in range(100):
        value = g.add("Mul", value, 0.9)
    traced = trace(convolutional(save_model, g, value, ["N", 3, SIZE, SIZE]))
    assert traced.layout is None


def test_the_writing_with_scaling_inside_says_its_range() -> None:
    writing = WRITINGS["scaled inside, flipped"]()
    model = ir.serde.deserialize_model(writing.model)
    clean(model)
    traced = trace_input_scaling(model.graph.inputs[0], (8, 8, 3))
    assert (traced.layout, traced.scaled_range(3)) == (writing.layout, (writing.low[0], writing.high[0]))
