"""The penultimate fully connected layer, compared with the torch modules that were exported."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from onnx import NodeProto, helper
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from tests.conftest import Exports, SaveModel
from tests.teacher.test_quantised import WAYS
from zskd_onnx.assets.make_digits_teacher import training_digits
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.penultimate import Penultimate, find_penultimate
from zskd_onnx.teacher.teacher import Teacher

node = helper.make_node
V = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
W = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
B = torch.linspace(-1, 1, 6)
WEIGHTS = {"v": V, "b": B, "w": W}
FINAL = node("Gemm", ["h", "w"], ["y"], transB=1)


def penultimate_of(teacher: Teacher) -> Penultimate:
    """The penultimate layer of a teacher that must have one."""
    layer = find_penultimate(teacher)
    assert layer is not None
    return layer


@pytest.mark.parametrize("exporter", ["dynamo", "9", "17"])
@pytest.mark.parametrize("ending", ["logits", "softmax"])
@pytest.mark.parametrize("name", ["lenet5", "alexnet", "vgg"])
def test_exports(exports: Exports, name: str, ending: str, exporter: str) -> None:
    """Between the two layers stand an activation, dropout and, in AlexNet, batch normalisation."""
    network = exports.network(name)
    layer = penultimate_of(load_teacher(exports.path(name, exporter, ending)))
    index = [i for i, module in enumerate(network.module) if isinstance(module, nn.Linear)][-2]
    original = network.module[index]
    torch.testing.assert_close(layer.weight, original.weight.detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(layer.bias, original.bias.detach(), rtol=0, atol=1e-6)

    s = torch.randn(7, len(layer.weight), generator=torch.Generator().manual_seed(1), requires_grad=True)
    logits, expected = layer.logits(s), network.module[index + 1 :](s)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    gradients = [torch.autograd.grad(z, s, direction)[0] for z in (logits, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet", "wrn"])
def test_no_layer_if_a_convolution_is_nearer(exports: Exports, name: str) -> None:
    assert find_penultimate(load_teacher(exports.path(name, "17"))) is None


LAYERS: dict[str, tuple[list[NodeProto], Tensor, Tensor | None]] = {
    "gemm": ([node("Gemm", ["x", "v", "b"], ["s"], transB=1)], V, B),
    "gemm, scaled": ([node("Gemm", ["x", "v", "b"], ["s"], transB=1, alpha=0.5, beta=2.0)], V / 2, 2 * B),
    "gemm, one bias": ([node("Gemm", ["x", "v", "one"], ["s"], transB=1)], V, torch.full((6,), 0.5)),
    "gemm, not transposed": ([node("Gemm", ["x", "vt"], ["s"])], V, None),
    "matmul": ([node("MatMul", ["x", "vt"], ["s"])], V, None),
    "matmul, add": ([node("MatMul", ["x", "vt"], ["m"]), node("Add", ["m", "b"], ["s"])], V, B),
    "matmul, add of a row": ([node("MatMul", ["x", "vt"], ["m"]), node("Add", ["row", "m"], ["s"])], V, B),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_of_every_form(save_model: SaveModel, layer: str) -> None:
    nodes, weight, bias = LAYERS[layer]
    weights = {**WEIGHTS, "vt": V.T.contiguous(), "row": B[None], "one": torch.tensor(0.5)}
    teacher = load_teacher(save_model([*nodes, node("Tanh", ["s"], ["h"]), FINAL], ["N", 4], ["N", 5], weights))
    penultimate = penultimate_of(teacher)
    torch.testing.assert_close(penultimate.weight, weight)
    if bias is None:
        assert penultimate.bias is None
    else:
        torch.testing.assert_close(penultimate.bias, bias)
    x = torch.randn(3, 4)
    s = F.linear(x, penultimate.weight, penultimate.bias)
    torch.testing.assert_close(penultimate.logits(s), teacher.logits(x))
    torch.testing.assert_close(penultimate.logits(s), s.tanh() @ W.T)


GEMM = node("Gemm", ["x", "v", "b"], ["s"], transB=1)
NO_LAYER: dict[str, list[NodeProto]] = {
    "only one layer": [node("Relu", ["x6"], ["h"])],
    "a sum of branches": [GEMM, node("Gemm", ["x", "v"], ["t"], transB=1), node("Add", ["s", "t"], ["h"])],
    "a path around the layer": [
        *(node("Tanh", ["x6"], ["f"]), node("Gemm", ["f", "square"], ["s"]), node("Relu", ["s"], ["r"])),
        node("Add", ["f", "r"], ["h"]),
    ],
    "scores that depend on the batch size": [
        GEMM,
        node("Size", ["x"], ["n"]),
        node("Cast", ["n"], ["c"], to=1),
        node("Mul", ["s", "c"], ["h"]),
    ],
    "an unsupported layer between": [GEMM, node("Einsum", ["s", "u"], ["h"], equation="ni,oi->no")],
}


@pytest.mark.parametrize("case", NO_LAYER)
def test_no_layer(save_model: SaveModel, case: str) -> None:
    nodes = NO_LAYER[case]
    if "x6" in nodes[0].input:
        nodes = [
            node("Concat", ["x", "x"], ["xx"], axis=1),
            node("Slice", ["xx", "start", "end", "axis"], ["x6"]),
            *nodes,
        ]
    weights = {
        **WEIGHTS,
        "u": torch.eye(6),
        "square": torch.randn(6, 6),
        **{k: torch.tensor([n]) for k, n in (("start", 0), ("end", 6), ("axis", 1))},
    }
    teacher = load_teacher(save_model([*nodes, FINAL], ["N", 4], ["N", 5], weights))
    assert teacher.head is not None
    assert find_penultimate(teacher) is None


def test_activation_of_several_nodes(save_model: SaveModel) -> None:
    """x * sigmoid(x) branches, but no branch bypasses the layer."""
    nodes = [GEMM, node("Sigmoid", ["s"], ["g"]), node("Mul", ["s", "g"], ["h"]), FINAL]
    s = torch.randn(3, 6)
    layer = penultimate_of(load_teacher(save_model(nodes, ["N", 4], ["N", 5], WEIGHTS)))
    torch.testing.assert_close(layer.logits(s), F.silu(s) @ W.T)


def test_no_layer_if_it_is_applied_at_each_position(save_model: SaveModel) -> None:
    """The output is (N, L, F2), not (N, F2)."""
    nodes = [
        *(node("MatMul", ["x", "vt"], ["m"]), node("Add", ["m", "b"], ["s"]), node("Relu", ["s"], ["r"])),
        *(node("ReduceMean", ["r"], ["h"], axes=[1], keepdims=0), FINAL),
    ]
    path = save_model(nodes, ["N", 3, 4], ["N", 5], {**WEIGHTS, "vt": V.T.contiguous()})
    teacher = load_teacher(path)
    assert teacher.head is not None
    assert find_penultimate(teacher) is None


def test_no_layer_without_a_head(save_model: SaveModel) -> None:
    nodes = [GEMM, node("Relu", ["s"], ["y"])]
    teacher = load_teacher(save_model(nodes, ["N", 4], ["N", 6], WEIGHTS))
    assert teacher.head is None
    assert find_penultimate(teacher) is None


def test_single_sigmoid_for_two_classes(save_model: SaveModel) -> None:
    """The two logits differ by the only score."""
    nodes = [
        GEMM,
        node("Relu", ["s"], ["h"]),
        node("Gemm", ["h", "w1"], ["z"], transB=1),
        node("Sigmoid", ["z"], ["y"]),
    ]
    teacher = load_teacher(save_model(nodes, ["N", 4], ["N", 1], {**WEIGHTS, "w1": W[:1]}))
    s = torch.randn(3, 6)
    logits = penultimate_of(teacher).logits(s)
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], s.relu() @ W[0])


def test_file_with_a_fixed_batch_size(save_model: SaveModel) -> None:
    nodes = [GEMM, node("Add", ["s", "c"], ["h"]), FINAL]
    teacher = load_teacher(save_model(nodes, [2, 4], [2, 5], {**WEIGHTS, "c": torch.ones(2, 1)}))
    assert teacher.batch == 2
    s = torch.randn(5, 6)
    torch.testing.assert_close(penultimate_of(teacher).logits(s), (s + 1) @ W.T)


@pytest.mark.filterwarnings("ignore")  # onnxruntime's quantiser raises warnings about numpy and itself
@pytest.mark.parametrize("way", ["qdq-per-channel", "qoperator", "dynamic"])
def test_quantised(digits_file: Path, digits: Teacher, tmp_path: Path, way: str) -> None:
    """Weights between quantisers are read. Products of integers have no real layer."""
    logging.disable(logging.WARNING)
    prepared, file = tmp_path / "prepared.onnx", tmp_path / "quantised.onnx"
    quant_pre_process(digits_file, prepared)
    WAYS[way](prepared, file, training_digits()[0][:256])
    teacher, original = load_teacher(file, input_range=(0, 16), layout="NCHW"), penultimate_of(digits)
    logging.disable(logging.NOTSET)
    layer = find_penultimate(teacher)
    if way != "qdq-per-channel":
        assert layer is None
        return
    assert layer is not None
    assert (layer.weight - original.weight).norm() < 0.01 * original.weight.norm()
    x = torch.from_numpy(held_out_digits()[0][:64])
    s, expected = digits.features(x), digits.logits(x)  # the features are behind a ReLU, which leaves them unchanged
    assert (layer.logits(s) - expected).abs().max() < 0.05 * expected.abs().max()
