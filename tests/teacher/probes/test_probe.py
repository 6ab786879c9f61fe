"""Activations of a teacher, compared with those of forward hooks on the exported module."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import helper
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from tests.conftest import Exports, SaveModel, export
from tests.teacher.test_quantised import WAYS
from zskd_onnx import UnsupportedTeacherError
from zskd_onnx.assets.make_digits_teacher import training_digits
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.probe import (
    Probe,
    activation_maps_probe,
    batch_norm_probe,
    features_probe,
    last_convolution_probe,
)
from zskd_onnx.teacher.teacher import Teacher

NETWORKS = ("lenet5", "alexnet", "vgg", "resnet", "wrn")
EXPORTERS = ("dynamo", "9", "17")
node = helper.make_node


def inputs_and_outputs(module: nn.Module, x: Tensor) -> dict[nn.Module, tuple[Tensor, Tensor]]:
    """Input and output of every layer, in the order in which the layers finish."""
    values: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values[layer] = inputs[0], output

    hooks = [layer.register_forward_hook(record) for layer in module.modules()]
    module(x)
    for hook in hooks:
        hook.remove()
    return values


def check(teacher: Teacher, probe: Probe, x: Tensor, expected: list[Tensor]) -> None:
    """Compare logits, values and input gradients of a probe; ``expected`` was computed from ``x``."""
    logits, values = probe(x)
    torch.testing.assert_close(logits, teacher.logits(x), rtol=1e-4, atol=1e-5)  # fused pooling rounds differently
    assert len(values) == len(expected)
    for value, reference in zip(values, expected, strict=True):
        scale = float(reference.detach().abs().max())
        assert scale > 0.05, "values this small would hide a difference"
        torch.testing.assert_close(value, reference, rtol=0, atol=1e-5 * scale)
        direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(2))
        gradients = [torch.autograd.grad(v, x, direction, retain_graph=True)[0].flatten() for v in (value, reference)]
        assert F.cosine_similarity(*gradients, dim=0) > 0.9999


def sample(shape: tuple[int, ...]) -> Tensor:
    """Three random inputs that require gradients."""
    return torch.rand(3, *shape, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_features(exports: Exports, name: str, exporter: str) -> None:
    network, teacher = exports.network(name), load_teacher(exports.path(name, exporter))
    x = sample(network.shape)
    check(teacher, features_probe(teacher), x, [inputs_and_outputs(network.module, x)[network.final][0]])


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize(("name", "layer"), [("lenet5", "4"), ("alexnet", "17"), ("vgg", "7")])
def test_last_convolution_with_its_activation(exports: Exports, name: str, layer: str, exporter: str) -> None:
    network, teacher = exports.network(name), load_teacher(exports.path(name, exporter))
    activation = network.module.get_submodule(layer)
    assert isinstance(activation, nn.ReLU)
    x = sample(network.shape)
    check(teacher, last_convolution_probe(teacher), x, [inputs_and_outputs(network.module, x)[activation][1]])


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize(("name", "layer"), [("resnet", "5.body"), ("wrn", "3.conv2")])
def test_last_convolution_before_a_sum(exports: Exports, name: str, layer: str, exporter: str) -> None:
    """The activation follows the sum, so it is not applied; the shortcut's convolution is not the last."""
    network, teacher = exports.network(name), load_teacher(exports.path(name, exporter))
    x = sample(network.shape)
    output = inputs_and_outputs(network.module, x)[network.module.get_submodule(layer)][1]
    check(teacher, last_convolution_probe(teacher), x, [output])


def last_of_each_size(module: nn.Module, x: Tensor) -> dict[tuple[int, ...], Tensor]:
    """Spatial size of more than one position -> the last output of that size."""
    last: dict[tuple[int, ...], Tensor] = {}
    for _, output in inputs_and_outputs(module, x).values():
        size = tuple(output.shape[2:])
        if math.prod(size) > 1:
            last.pop(size, None)
            last[size] = output
    return last


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", ["lenet5", "alexnet", "vgg", "resnet"])
def test_activation_maps(exports: Exports, name: str, exporter: str) -> None:
    network, teacher = exports.network(name), load_teacher(exports.path(name, exporter))
    x = sample(network.shape)
    expected, probe = last_of_each_size(network.module, x), activation_maps_probe(teacher)
    assert probe.sizes == tuple(expected)
    check(teacher, probe, x, list(expected.values()))


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_activation_maps_of_a_wide_residual_network(exports: Exports, exporter: str) -> None:
    """The last map of 16x16 is inside a residual block: the input of its strided convolutions."""
    network, teacher = exports.network("wrn"), load_teacher(exports.path("wrn", exporter))
    x = sample(network.shape)
    values, probe = inputs_and_outputs(network.module, x), activation_maps_probe(teacher)
    assert probe.sizes == ((16, 16), (8, 8))
    check(teacher, probe, x, [F.relu(values[network.module[3].first][1]), values[network.module[5]][1]])


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_batch_normalisation(exports: Exports, exporter: str) -> None:
    """Only batch normalisation without a convolution directly before it remains; the rest is folded."""
    network, teacher = exports.network("wrn"), load_teacher(exports.path("wrn", exporter))
    x = sample(network.shape)
    unfolded = [network.module[2].first, network.module[3].first, network.module[4]]
    probe = batch_norm_probe(teacher)
    check(teacher, probe, x, [inputs_and_outputs(network.module, x)[layer][0] for layer in unfolded])
    for (mean, variance), layer in zip(probe.statistics, unfolded, strict=True):
        torch.testing.assert_close(mean, layer.running_mean, rtol=0, atol=0)
        torch.testing.assert_close(variance, layer.running_var, rtol=0, atol=0)


MAKERS: dict[str, Callable[[Teacher], Probe]] = {
    "fully connected": features_probe,
    "convolution": last_convolution_probe,
    "activation map": activation_maps_probe,
    "batch normalisation": batch_norm_probe,
}


@pytest.mark.parametrize("missing", MAKERS)
def test_missing_layer_is_named(save_model: SaveModel, missing: str) -> None:
    teacher = load_teacher(save_model([node("Relu", ["x"], ["y"])], ["N", 5], ["N", 5]))
    with pytest.raises(UnsupportedTeacherError, match=missing) as caught:
        MAKERS[missing](teacher)
    assert str(teacher.source.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_are_shared(digits: Teacher) -> None:
    probe = activation_maps_probe(digits)
    assert {b.data_ptr() for b in probe.buffers()} <= {b.data_ptr() for b in digits.buffers()}


def test_probe_moves_to_another_type(exports: Exports) -> None:
    """The statistics move with the probe; the teacher is unchanged."""
    teacher = load_teacher(exports.path("wrn", "17"))
    x = torch.rand(2, 3, 16, 16)
    probe = batch_norm_probe(teacher)
    single = probe(x)
    logits, values = probe.double()(x.double())
    assert {logits.dtype, *(v.dtype for v in values)} == {torch.float64}
    assert {s.dtype for pair in probe.statistics for s in pair} == {torch.float64}
    torch.testing.assert_close(logits.float(), single[0], rtol=1e-4, atol=1e-4)
    assert teacher.logits(x).dtype == torch.float32


@pytest.mark.gpu
def test_probe_is_on_the_device_of_the_teacher(exports: Exports) -> None:
    teacher = load_teacher(exports.path("wrn", "17"))
    x = torch.rand(2, 3, 16, 16)
    expected = batch_norm_probe(teacher)(x)
    outputs = batch_norm_probe(teacher.to("cuda"))(x.cuda())
    for output, reference in zip([outputs[0], *outputs[1]], [expected[0], *expected[1]], strict=True):
        torch.testing.assert_close(output.cpu(), reference, rtol=1e-2, atol=1e-2)


def test_file_with_a_fixed_batch_size(save_model: SaveModel) -> None:
    """The file adds a constant with a batch axis of two, so its batch size cannot be freed."""
    weights = {"k": torch.randn(3, 1, 3), "c": torch.ones(2, 1, 1), "w": torch.randn(5, 24)}
    nodes = [
        node("Conv", ["x", "k"], ["m"], pads=[1, 1]),
        node("Add", ["m", "c"], ["a"]),
        node("Flatten", ["a"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    teacher = load_teacher(save_model(nodes, [2, 1, 8], [2, 5], weights))
    assert teacher.batch == 2
    x = torch.rand(5, 1, 8, requires_grad=True)
    shifted = F.conv1d(x, weights["k"], padding=1) + 1
    check(teacher, features_probe(teacher), x, [shifted.flatten(1)])
    check(teacher, last_convolution_probe(teacher), x, [shifted - 1])
    check(teacher, activation_maps_probe(teacher), x, [shifted])


def test_single_sigmoid_for_two_classes(save_model: SaveModel) -> None:
    """Both logits are computed from the only score."""
    weight = torch.randn(1, 4)
    nodes = [node("Relu", ["x"], ["h"]), node("Gemm", ["h", "w"], ["z"], transB=1), node("Sigmoid", ["z"], ["y"])]
    teacher = load_teacher(save_model(nodes, ["N", 4], ["N", 1], {"w": weight}))
    x = torch.rand(3, 4, requires_grad=True)
    check(teacher, features_probe(teacher), x, [x.relu()])
    assert features_probe(teacher)(x)[0].shape == (3, 2)


def test_features_of_two_averaged_heads(save_model: SaveModel) -> None:
    nodes = [
        *(node("Relu", ["x"], ["f"]), node("Tanh", ["x"], ["g"])),
        *(node("Gemm", ["f", "v"], ["a"], transB=1), node("Gemm", ["g", "w"], ["b"], transB=1)),
        node("Add", ["a", "b"], ["y"]),
    ]
    weights = {"v": torch.randn(3, 4), "w": torch.randn(3, 4)}
    teacher = load_teacher(save_model(nodes, ["N", 4], ["N", 3], weights))
    x = torch.rand(5, 4, requires_grad=True)
    check(teacher, features_probe(teacher), x, [(x.relu() + x.tanh()) / 2])


def test_last_convolution_before_a_convolutional_head(save_model: SaveModel) -> None:
    weights = {"k": torch.randn(6, 3, 3, 3), "w": torch.randn(5, 6, 1, 1)}
    nodes = [
        *(node("Conv", ["x", "k"], ["c"]), node("Relu", ["c"], ["r"])),
        *(node("Conv", ["r", "w"], ["h"]), node("GlobalAveragePool", ["h"], ["p"]), node("Flatten", ["p"], ["y"])),
    ]
    teacher = load_teacher(save_model(nodes, ["N", 3, 8, 8], ["N", 5], weights))
    x = sample((3, 8, 8))
    activation = F.conv2d(x, weights["k"]).relu()
    check(teacher, last_convolution_probe(teacher), x, [activation])
    check(teacher, features_probe(teacher), x, [activation.mean((2, 3))])


def test_maps_are_channels_first_in_a_channels_last_file(save_model: SaveModel) -> None:
    """With as many filters as rows and columns, only the operator shows that a map is transposed."""
    weights = {"k": torch.randn(6, 3, 3, 3), "w": torch.randn(6 * 6 * 6, 5), "s": torch.tensor([-1, 6 * 6 * 6])}
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        *(node("Conv", ["t", "k"], ["c"]), node("Relu", ["c"], ["r"])),
        *(node("Transpose", ["r"], ["l"], perm=[0, 2, 3, 1]), node("Tanh", ["l"], ["a"])),
        *(node("Reshape", ["a", "s"], ["f"]), node("MatMul", ["f", "w"], ["y"])),
    ]
    teacher = load_teacher(save_model(nodes, ["N", 8, 8, 3], ["N", 5], weights))
    x = sample((8, 8, 3))
    probe = activation_maps_probe(teacher)
    assert probe.sizes == ((6, 6),)
    check(teacher, probe, x, [F.conv2d(x.movedim(-1, 1), weights["k"]).relu()])


@pytest.mark.parametrize("rank", [1, 3], ids=["sequences", "volumes"])
def test_sequences_and_volumes(tmp_path: Path, rank: int) -> None:
    torch.manual_seed(0)
    conv, pool, norm = {1: (nn.Conv1d, nn.MaxPool1d, nn.BatchNorm1d), 3: (nn.Conv3d, nn.MaxPool3d, nn.BatchNorm3d)}[
        rank
    ]
    before = norm(2)
    nn.init.normal_(before.running_mean)
    layers = [before, conv(2, 4, 3, padding=1), nn.ReLU(), pool(2), conv(4, 6, 3), nn.Tanh(), nn.Flatten()]
    module = nn.Sequential(*layers, nn.Linear(6 * 4**rank, 5)).eval()
    shape = (2, *(12,) * rank)
    export(module, shape, tmp_path / "model.onnx", "17", fixed=False)
    teacher, x = load_teacher(tmp_path / "model.onnx"), sample(shape)
    maps = [layer(x) for layer in (module[:3], module[:4], module[:6])]
    assert activation_maps_probe(teacher).sizes == tuple((n,) * rank for n in (12, 6, 4))
    check(teacher, activation_maps_probe(teacher), x, maps)
    check(teacher, last_convolution_probe(teacher), x, maps[-1:])
    check(teacher, features_probe(teacher), x, [maps[-1].flatten(1)])
    check(teacher, batch_norm_probe(teacher), x, [x.clone()])


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory, digits_file: Path) -> Callable[[str], Teacher]:
    """Loads the bundled teacher as onnxruntime has quantised it, by the way of quantising."""
    folder = tmp_path_factory.mktemp("quantised")

    def load(way: str) -> Teacher:
        prepared, file = folder / "prepared.onnx", folder / f"{way}.onnx"
        if not prepared.exists():
            quant_pre_process(digits_file, prepared)
        if not file.exists():
            WAYS[way](prepared, file, training_digits()[0][:256])
        return load_teacher(file, input_range=(0, 16), layout="NCHW")

    return load


@pytest.mark.filterwarnings("ignore")  # onnxruntime's quantiser raises warnings about numpy and itself
@pytest.mark.parametrize("maker", [features_probe, last_convolution_probe, activation_maps_probe])
@pytest.mark.parametrize("way", ["qdq-per-channel", "qoperator", "dynamic"])
def test_values_of_quantised_files_are_in_real_units(
    quantised: Callable[[str], Teacher], digits: Teacher, way: str, maker: Callable[[Teacher], Probe]
) -> None:
    logging.disable(logging.WARNING)
    teacher = quantised(way)
    logging.disable(logging.NOTSET)
    x = torch.from_numpy(held_out_digits()[0][:64]).requires_grad_()
    (logits, values), (_, expected) = maker(teacher)(x), maker(digits)(x)
    torch.testing.assert_close(logits, teacher.logits(x), rtol=1e-4, atol=1e-5)  # fused pooling rounds differently
    assert len(values) == len(expected)
    for a, b in zip(values, expected, strict=True):
        assert (a - b).abs().max() < 0.05 * b.abs().max()
        gradients = [torch.autograd.grad(v.square().sum(), x, retain_graph=True)[0].flatten() for v in (a, b)]
        assert F.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ["qdq-per-channel", "qoperator", "dynamic"])
def test_quantised_residual_network(exports: Exports, tmp_path: Path, way: str) -> None:
    """The file has sums of integers, and integers that two branches read."""
    logging.disable(logging.WARNING)
    source, prepared, file = exports.path("resnet", "17"), tmp_path / "prepared.onnx", tmp_path / "quantised.onnx"
    x = sample((3, 16, 16))
    quant_pre_process(source, prepared)
    WAYS[way](prepared, file, np.random.default_rng(0).random((64, 3, 16, 16)).astype(np.float32))
    teacher, original = load_teacher(file, input_range=(0, 1)), load_teacher(source)
    logging.disable(logging.NOTSET)
    for maker in (activation_maps_probe, last_convolution_probe):
        for a, b in zip(maker(teacher)(x)[1], maker(original)(x)[1], strict=True):
            assert (a - b).abs().max() < 0.1 * b.abs().max()
    assert activation_maps_probe(teacher).sizes == activation_maps_probe(original).sizes
