"""One net for digits, written in ten input domains, and with its scaling as nodes of the graph.

The net is the bundled teacher. Where a file has no scaling nodes, the affine map from its domain to the net's 0..1 is
folded into the first convolution. A pad with the domain's zero goes before that convolution where this zero is not
0, so that the border stays what it was. No file has metadata. Every function is cached: do not change what it returns.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from zskd_onnx.pipeline.demo import TEACHER, held_out_digits

node = helper.make_node

MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LUMINANCE = (0.299, 0.587, 0.114)
CALIBRATION = 200
"""Digits on which the quantised file is calibrated."""


@dataclass(frozen=True)
class Writing:
    """A file, and the true domain of its input.

    Attributes:
        model: the file.
        low: the file's value for the ground of a digit, one per channel.
        high: the file's value for full ink, likewise.
        layout: order of the file's axes.
    """

    model: onnx.ModelProto
    low: tuple[float, ...]
    high: tuple[float, ...]
    layout: str

    def save(self, path: Path) -> Path:
        """Write the file and return its path."""
        onnx.save(self.model, path)
        return path

    def digits(self) -> tuple[np.ndarray, np.ndarray]:
        """The 450 held-out digits as the file takes them, and their class numbers."""
        x, labels = held_out_digits()
        low, high = (np.array(end, dtype=np.float64).reshape(1, -1, 1, 1) for end in (self.low, self.high))
        x = low + (high - low) * x / 16
        if self.layout == "NHWC":
            x = np.moveaxis(x, 1, -1)
        kind = self.model.graph.input[0].type.tensor_type.elem_type
        return x.astype(helper.tensor_dtype_to_np_dtype(kind)), labels


@cache
def unit() -> Writing:
    """0 to 1, NCHW (N, 1, 8, 8), float32; no scaling nodes."""
    return _folded(0, 1)


@cache
def bytes_() -> Writing:
    """0 to 255, NCHW (N, 1, 8, 8), float32; no scaling nodes."""
    return _folded(0, 255)


@cache
def symmetric() -> Writing:
    """-1 to 1, NCHW (N, 1, 8, 8), float32; no scaling nodes."""
    return _folded(-1, 1)


@cache
def standardised() -> Writing:
    """-0.4242 to 2.8215, which is 0..1 with MNIST's mean and deviation; NCHW (N, 1, 8, 8), float32; no scaling nodes."""
    return _folded(-MNIST_MEAN / MNIST_STD, (1 - MNIST_MEAN) / MNIST_STD)


@cache
def sixteen() -> Writing:
    """0 to 16, as scikit-learn has the digits; NCHW (N, 1, 8, 8), float32; no scaling nodes."""
    return _folded(0, 16)


@cache
def channels_last() -> Writing:
    """0 to 255, NHWC (N, 8, 8, 1), float32; a Transpose and no scaling nodes."""
    first = [node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2])]
    return Writing(_model(first, {}, (8, 8, 1), 1 / 255, 0), (0.0,), (255.0,), "NHWC")


@cache
def flipped() -> Writing:
    """0 to 255, NHWC (N, 8, 8, 3), float32; pad, flip of the channels, division, mean, deviation, Transpose.

    The digits are grey: three equal channels. The mean and deviation are ImageNet's, in the flipped order.
    """
    mean, std = np.float32(IMAGENET_MEAN[::-1]), np.float32(IMAGENET_STD[::-1])
    first = [
        node("Pad", ["image", "pads"], ["padded"]),
        node("Gather", ["padded", "order"], ["reversed"], axis=3),
        node("Div", ["reversed", "most"], ["divided"]),
        node("Sub", ["divided", "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["scaled"]),
        node("Transpose", ["scaled"], ["first"], perm=[0, 3, 1, 2]),
    ]
    weights = {
        "pads": np.array([0, 1, 1, 0, 0, 1, 1, 0]),
        "order": np.array([2, 1, 0]),
        "most": np.float32(255),
        "mean": mean,
        "std": std,
    }
    grey = np.float64(LUMINANCE[::-1])
    model = _model(first, weights, (8, 8, 3), grey * std, float(grey @ mean), padded=True)
    return Writing(model, (0.0,) * 3, (255.0,) * 3, "NHWC")


@cache
def half() -> Writing:
    """0 to 1, NCHW (N, 1, 8, 8), float16 throughout; no scaling nodes."""
    model = onnx.ModelProto()
    model.CopyFrom(unit().model)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return Writing(model, (0.0,), (1.0,), "NCHW")


@cache
def quantised() -> Writing:
    """0 to 255, NCHW (N, 1, 8, 8), float32; onnxruntime's quantise-dequantise pairs in 8 bits, calibrated on digits."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Batch(CalibrationDataReader):
        """All calibration samples at once."""

        def __init__(self, x: np.ndarray) -> None:
            self.batches = iter([{"image": x}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    source = bytes_()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "quantised.onnx"
        quantize_static(source.save(Path(folder) / "float.onnx"), path, Batch(source.digits()[0][:CALIBRATION]))
        model = onnx.load(path)
    del model.metadata_props[:]
    return Writing(model, (0.0,), (255.0,), "NCHW")


@cache
def anonymous() -> Writing:
    """-0.5 to 0.5, NCHW (N, 1, 8, 8), float32; no scaling nodes, and no names that say what the values are."""
    model = onnx.ModelProto()
    model.CopyFrom(_folded(-0.5, 0.5).model)
    names = {"image": "x", "logits": "y"}
    for item in model.graph.node:
        item.input[:] = [names.get(name, name) for name in item.input]
        item.output[:] = [names.get(name, name) for name in item.output]
    model.graph.input[0].name, model.graph.output[0].name = "x", "y"
    return Writing(model, (-0.5,), (0.5,), "NCHW")


@cache
def explicit(low: float, high: float) -> Writing:
    """``low`` to ``high``, NCHW (N, 1, 8, 8), float32; the nodes Sub and Div map these to 0..1."""
    first = [
        node("Sub", ["image", "low"], ["above"]),
        node("Div", ["above", "span"], ["first"]),
    ]
    weights = {"low": np.float32(low), "span": np.float32(high - low)}
    return Writing(_model(first, weights, (1, 8, 8), 1, 0), (float(low),), (float(high),), "NCHW")


WRITINGS: dict[str, Callable[[], Writing]] = {
    "0..1": unit,
    "0..255": bytes_,
    "-1..1": symmetric,
    "mean and deviation": standardised,
    "0..16": sixteen,
    "NHWC 0..255": channels_last,
    "scaled inside, flipped": flipped,
    "half precision": half,
    "quantised": quantised,
    "no hint": anonymous,
}
"""The same net in ten domains; ``WRITINGS[name]()`` has the file and the truth."""


def _folded(low: float, high: float) -> Writing:
    """The net for values from ``low`` to ``high``, NCHW, without scaling nodes."""
    pads = [0, 0, 1, 1, 0, 0, 1, 1]
    first = [node("Pad", ["image", "pads", "ground"], ["first"])] if low else []
    weights = {"pads": np.array(pads), "ground": np.float32(low)} if low else {}
    span = high - low
    model = _model(first, weights, (1, 8, 8), 1 / span, -low / span, padded=bool(low))
    return Writing(model, (float(low),), (float(high),), "NCHW")


def _model(
    first: Sequence[NodeProto],
    weights: dict[str, np.ndarray],
    shape: tuple[int, ...],
    scale: float | np.ndarray,
    shift: float,
    *,
    padded: bool = False,
) -> onnx.ModelProto:
    """The net behind the nodes ``first``, which map 'image' to 'first'.

    Args:
        shape: of one sample in the file.
        scale, shift: the net's 0..1 is the sum over channels of scale * first, plus shift; folded into the first
            convolution.
        padded: whether 'first' has the border that the first convolution would add.
    """
    with resources.as_file(resources.files("zskd_onnx.assets") / TEACHER) as path:
        net = onnx.load(path)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in net.graph.initializer}
    _, convolution, *others = net.graph.node
    kernel = constants["net.0.weight"].astype(np.float64)
    bias = constants["net.0.bias"].astype(np.float64) + shift * kernel.sum((1, 2, 3))
    constants["net.0.weight"] = (kernel * np.reshape(scale, (1, -1, 1, 1))).astype(np.float32)
    constants["net.0.bias"] = bias.astype(np.float32)
    del constants["scalar_tensor_default"]
    convolution = node(
        "Conv",
        ["first" if first else "image", "net.0.weight", "net.0.bias"],
        [convolution.output[0]],
        kernel_shape=[3, 3],
        pads=[0 if padded else 1] * 4,
    )
    graph = helper.make_graph(
        [*first, convolution, *others],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in {**constants, **weights}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model
