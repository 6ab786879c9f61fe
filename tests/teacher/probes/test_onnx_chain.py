"""Layers of a plain chain, compared with the torch modules that were exported."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from onnx import NodeProto, helper
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tests.conftest import Exports, SaveModel, export
from tests.teacher.test_quantised import WAYS
from zskd_onnx.assets.make_digits_teacher import training_digits
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.onnx_chain import OnnxLayer, chain_layers
from zskd_onnx.teacher.teacher import Teacher

node = helper.make_node
G = torch.Generator().manual_seed(0)


def layers_of(teacher: Teacher) -> list[OnnxLayer]:
    """The layers of a teacher that must be a chain."""
    layers = chain_layers(teacher)
    assert layers is not None
    return layers


def check(layer: OnnxLayer, original: nn.Module) -> None:
    """Compare kind, tensors and geometry of a layer with those of a module."""
    kinds = {nn.Linear: "linear", nn.BatchNorm1d: "batch_norm", nn.BatchNorm2d: "batch_norm", nn.Conv2d: "convolution"}
    assert layer.kind == kinds[type(original)]
    for name in ("weight", "bias"):
        torch.testing.assert_close(getattr(layer, name), getattr(original, name).detach(), rtol=0, atol=1e-6)
    if isinstance(original, nn.Conv2d):
        for name in ("stride", "padding", "dilation", "groups"):
            assert getattr(layer, name) == getattr(original, name)
    if isinstance(original, (nn.BatchNorm1d, nn.BatchNorm2d)):
        torch.testing.assert_close(layer.mean, original.running_mean, rtol=0, atol=0)
        torch.testing.assert_close(layer.variance, original.running_var, rtol=0, atol=0)
        assert layer.epsilon == pytest.approx(original.eps)


@pytest.mark.parametrize("exporter", ["dynamo", "9", "17"])
@pytest.mark.parametrize("name", ["lenet5", "alexnet", "vgg"])
def test_exports(exports: Exports, name: str, exporter: str) -> None:
    """VGG's only batch normalisation is folded into a convolution. AlexNet's stand behind pooling and are not."""
    modules = list(exports.network(name).module)
    expected: list[nn.Module] = []
    for before, module in zip([None, *modules], modules, strict=False):
        if isinstance(before, nn.Conv2d) and isinstance(module, nn.BatchNorm2d):
            expected[-1] = fuse_conv_bn_eval(before, module)
        elif isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)):
            expected.append(module)
    layers = layers_of(load_teacher(exports.path(name, exporter, "softmax")))
    assert len(layers) == len(expected)
    for layer, original in zip(layers, expected, strict=True):
        check(layer, original)


@pytest.mark.parametrize("name", ["resnet", "wrn"])
def test_residual_network_is_no_chain(exports: Exports, name: str) -> None:
    assert chain_layers(load_teacher(exports.path(name, "17"))) is None


def test_geometry_of_convolutions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(4, 6, (3, 5), 2, (1, 2)), nn.Conv2d(6, 8, 3, 1, 2, 2, groups=2)]
    module = nn.Sequential(convolutions[0], nn.SiLU(), convolutions[1], nn.Flatten(), nn.Linear(8 * 6 * 6, 3)).eval()
    export(module, (4, 12, 12), tmp_path / "model.onnx", "17", fixed=False)
    for layer, original in zip(
        layers_of(load_teacher(tmp_path / "model.onnx")), [*convolutions, module[-1]], strict=True
    ):
        check(layer, original)


K, W, B, C = (torch.randn(n, generator=G) for n in ((6, 3, 3, 3), (5, 6 * 4 * 4), (5,), (6,)))
TAIL = [node("Flatten", ["h"], ["f"]), node("Gemm", ["f", "w", "b"], ["y"], transB=1)]
WEIGHTS = {"k": K, "w": W, "b": B, "row": B[None], "column": C[:, None, None], "slope": C[:, None, None].abs()}


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_unequal_padding_has_no_torch_form(save_model: SaveModel, auto_pad: str) -> None:
    """With side 8, kernel 3 and stride 2, SAME padding differs between the sides; with stride 1 it does not."""
    conv = node("Conv", ["x", "k"], ["h"], strides=[2, 2], auto_pad=auto_pad)
    assert layers_of(load_teacher(save_model([conv, *TAIL], ["N", 3, 8, 8], ["N", 5], WEIGHTS)))[0].padding is None
    conv = node("Conv", ["x", "k"], ["h"], auto_pad=auto_pad)
    assert layers_of(load_teacher(save_model([conv, *TAIL], ["N", 3, 4, 4], ["N", 5], WEIGHTS)))[0].padding == (1, 1)


def test_bias_in_a_separate_add(save_model: SaveModel) -> None:
    nodes = [
        *(node("Conv", ["x", "k"], ["m"]), node("Add", ["column", "m"], ["a"]), node("Relu", ["a"], ["h"])),
        *(TAIL[0], node("MatMul", ["f", "wt"], ["p"]), node("Add", ["p", "row"], ["y"])),
    ]
    path = save_model(nodes, ["N", 3, 6, 6], ["N", 5], {**WEIGHTS, "wt": W.T.contiguous()})
    first, second = layers_of(load_teacher(path))
    torch.testing.assert_close([first.weight, second.weight], [K, W])
    torch.testing.assert_close([first.bias, second.bias], [C, B])


def rebuilt(x: Tensor, layers: list[OnnxLayer]) -> Tensor:
    """Output of a convolution, ReLU and a fully connected layer, from their ``OnnxLayer``."""
    convolution, linear = layers
    h = F.conv2d(x, convolution.weight, convolution.bias, convolution.stride, convolution.padding)  # type: ignore[arg-type]
    return F.linear(h.relu().flatten(1), linear.weight, linear.bias)


@pytest.mark.parametrize("place", ["before", "behind"])
def test_columns_are_channels_first_in_a_channels_last_file(save_model: SaveModel, place: str) -> None:
    """Like Keras, the file flattens in the order row, column, channel."""
    to_last = node("Transpose", ["c" if place == "before" else "r"], ["l"], perm=[0, 2, 3, 1])
    relu = node("Relu", ["l"], ["r"]) if place == "before" else node("Relu", ["c"], ["r"])
    nodes = [
        *(node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), node("Conv", ["t", "k", "bias"], ["c"])),
        *([to_last, relu] if place == "before" else [relu, to_last]),
        node("Reshape", ["r" if place == "before" else "l", "s"], ["f"]),
        *(node("MatMul", ["f", "wt"], ["p"]), node("Add", ["p", "b"], ["y"])),
    ]
    weights = {"k": K, "bias": C, "wt": W.T.contiguous(), "b": B, "s": torch.tensor([-1, 6 * 4 * 4])}
    teacher = load_teacher(save_model(nodes, ["N", 6, 6, 3], ["N", 5], weights), input_range=(0, 1))
    unit = torch.rand(3, 3, 6, 6)
    torch.testing.assert_close(rebuilt(unit, layers_of(teacher)), teacher.logits(teacher.domain.to_file(unit)))


def test_image_flattened_channels_last(save_model: SaveModel) -> None:
    nodes = [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w", "b"], ["y"], transB=1)]
    path = save_model(nodes, ["N", 4, 4, 6], ["N", 5], WEIGHTS)
    teacher = load_teacher(path, layout="NHWC", input_range=(0, 1))
    unit = torch.rand(3, 6, 4, 4)
    (layer,) = layers_of(teacher)
    torch.testing.assert_close(
        F.linear(unit.flatten(1), layer.weight, layer.bias), teacher.logits(teacher.domain.to_file(unit))
    )


def test_scaling_before_the_first_layer_is_skipped(digits: Teacher) -> None:
    """The bundled teacher divides pixels by 16."""
    assert [layer.kind for layer in layers_of(digits)] == ["convolution", "convolution", "linear", "linear"]


CONV = node("Conv", ["x", "k"], ["c"])
NOT_A_CHAIN: dict[str, list[NodeProto]] = {
    "an activation with weights": [CONV, node("PRelu", ["c", "slope"], ["h"])],
    "channels that are scaled": [CONV, node("Mul", ["c", "column"], ["h"])],
    "two layers in parallel": [CONV, node("Conv", ["x", "k"], ["d"]), node("Add", ["c", "d"], ["h"])],
    "channels concatenated": [
        CONV,
        node("Split", ["c"], ["d", "e"], axis=1),
        node("Concat", ["e", "d"], ["h"], axis=1),
    ],
    "rows and columns swapped": [CONV, node("Transpose", ["c"], ["h"], perm=[0, 1, 3, 2])],
    "a separate Pad": [
        *(node("Pad", ["x", "pads"], ["p"]), node("Conv", ["p", "k"], ["c"])),
        node("MaxPool", ["c"], ["h"], kernel_shape=[3, 3]),
    ],
    "a transposed convolution": [CONV, node("ConvTranspose", ["c", "t"], ["h"], pads=[1, 1, 1, 1])],
}


@pytest.mark.parametrize("case", NOT_A_CHAIN)
def test_no_chain(save_model: SaveModel, case: str) -> None:
    weights = {**WEIGHTS, "t": torch.randn(6, 6, 3, 3, generator=G), "pads": torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])}
    teacher = load_teacher(save_model([*NOT_A_CHAIN[case], *TAIL], ["N", 3, 6, 6], ["N", 5], weights))
    assert chain_layers(teacher) is None
    chain = save_model([CONV, node("Relu", ["c"], ["h"]), *TAIL], ["N", 3, 6, 6], ["N", 5], weights)
    assert chain_layers(load_teacher(chain)) is not None, "the rest of the graph is a chain"


def test_recurrent_layer_is_no_chain(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.out = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.lstm(x.transpose(1, 2))[0][:, -1])

    export(Recurrent().eval(), (4, 7), tmp_path / "model.onnx", "17", fixed=True)
    assert chain_layers(load_teacher(tmp_path / "model.onnx")) is None


@pytest.mark.filterwarnings("ignore")  # onnxruntime's quantiser raises warnings about numpy and itself
@pytest.mark.parametrize("way", ["qdq", "qoperator", "dynamic"])
def test_quantised(digits_file: Path, digits: Teacher, tmp_path: Path, way: str) -> None:
    """Weights between quantisers are read. Products of integers have no real layer."""
    logging.disable(logging.WARNING)
    prepared, file = tmp_path / "prepared.onnx", tmp_path / "quantised.onnx"
    quant_pre_process(digits_file, prepared)
    WAYS[way](prepared, file, training_digits()[0][:256])
    layers = chain_layers(load_teacher(file, input_range=(0, 16), layout="NCHW"))
    logging.disable(logging.NOTSET)
    if way != "qdq":
        assert layers is None
        return
    assert layers is not None
    for layer, original in zip(layers, layers_of(digits), strict=True):
        assert (layer.kind, layer.padding) == (original.kind, original.padding)
        assert (layer.weight - original.weight).norm() < 0.02 * original.weight.norm()
