"""Imported models against torch's own module and against onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper

from tests.conftest import Exports, SaveModel
from zskd_onnx import ParityError, UnsupportedTeacherError, UsageError
from zskd_onnx.importer.operators import registry
from zskd_onnx.importer.operators.registry import find_operator
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.teacher import Teacher

NETWORKS = ("lenet5", "alexnet", "vgg", "resnet", "wrn")
EXPORTERS = ("dynamo", "9", "13", "17")


def run_file(path: Path, x: np.ndarray) -> np.ndarray:
    """onnxruntime's output; a file with a fixed batch size of 1 runs sample by sample."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (declared,) = session.get_inputs()
    parts = np.split(x, len(x)) if declared.shape[0] == 1 else [x]
    return np.concatenate([session.run(None, {declared.name: part})[0] for part in parts])


@pytest.mark.parametrize(
    ("ending", "fixed"),
    [
        pytest.param("softmax", False, id="softmax-free"),
        pytest.param("log_softmax", True, id="log_softmax-fixed"),
        pytest.param("log_softmax", False, id="log_softmax-free", marks=pytest.mark.slow),
        pytest.param("softmax", True, id="softmax-fixed", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(("name", "exporter"), [(n, e) for n in NETWORKS for e in EXPORTERS])
def test_exports_match_the_original_module(
    exports: Exports, name: str, exporter: str, ending: str, fixed: bool
) -> None:
    network = exports.network(name)
    path = exports.path(name, exporter, ending, fixed=fixed)
    teacher = load_teacher(path)

    assert teacher.output.kind == ending
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, network.final.weight.detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(teacher.head.bias, network.final.bias.detach(), rtol=0, atol=1e-6)

    x = torch.rand(5, *network.shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    logits, expected = teacher.logits(x), network.module(x)
    scale = float(expected.detach().abs().max())
    assert scale > 0.1, "logits this small would hide a difference"
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * scale)

    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    gradients = [torch.autograd.grad(z, x, direction)[0].flatten() for z in (logits, expected)]
    assert F.cosine_similarity(*gradients, dim=0) > 0.9999

    for size in (1, 4):
        batch = x.detach()[:size]
        np.testing.assert_allclose(teacher(batch).numpy(), run_file(path, batch.numpy()), rtol=1e-4, atol=1e-5)


def test_logits_without_softmax(exports: Exports) -> None:
    teacher = load_teacher(exports.path("lenet5", "dynamo"))
    x = torch.rand(3, 1, 28, 28)
    assert teacher.output.kind == "logits"
    torch.testing.assert_close(teacher(x), teacher.logits(x), rtol=0, atol=0)


def test_weights_have_no_gradient(exports: Exports) -> None:
    teacher = load_teacher(exports.path("vgg", "17"))
    assert not list(teacher.parameters())
    assert not any(b.requires_grad for b in teacher.buffers())
    teacher.train()
    assert not any(m.training for m in teacher.modules())
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(teacher.logits(x), teacher.logits(x), rtol=0, atol=0)


def test_batch_size_stays_variable_under_tracing(exports: Exports) -> None:
    """One trace with a symbolic batch size serves every size."""
    teacher = load_teacher(exports.path("lenet5", "9", "softmax", fixed=True))
    program = torch.export.export(
        teacher, (torch.rand(2, 1, 28, 28),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    x = torch.rand(7, 1, 28, 28)
    torch.testing.assert_close(program.module()(x), teacher(x))


@pytest.fixture
def keras_like(save_model: SaveModel) -> tuple[Path, dict[str, torch.Tensor]]:
    """A Keras net as tf2onnx writes it: pixels channels last, Transpose, Reshape, MatMul, Add, Softmax."""
    g = torch.Generator().manual_seed(0)
    weights = {
        "kernel": torch.randn(4, 3, 3, 3, generator=g) / 3,
        "kernel_bias": torch.randn(4, generator=g),
        "flat": torch.tensor([-1, 6 * 6 * 4]),
        "dense": torch.randn(144, 5, generator=g) / 12,
        "dense_bias": torch.randn(5, generator=g),
        "scale": torch.tensor(255.0),
    }
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "kernel", "kernel_bias"], ["conv"]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Transpose", ["relu"], ["nhwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["nhwc", "flat"], ["flattened"]),
        helper.make_node("MatMul", ["flattened", "dense"], ["product"]),
        helper.make_node("Add", ["product", "dense_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    path = save_model(nodes, ["unk__1", 8, 8, 3], ["unk__2", 5], weights, input_type=TensorProto.UINT8, opset=13)
    return path, weights


def test_channels_last_pixels_of_tf2onnx(keras_like: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, weights = keras_like
    teacher = load_teacher(path)
    assert (teacher.domain.layout, teacher.domain.shape, teacher.domain.dtype) == ("NHWC", (3, 8, 8), "uint8")
    assert (set(teacher.domain.low), set(teacher.domain.high)) == ({0.0}, {255.0})
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, weights["dense"].T)

    pixels = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    for size in (1, 4):
        np.testing.assert_allclose(
            teacher(pixels[:size].float()).numpy(), run_file(path, pixels[:size].numpy()), atol=1e-6
        )

    x = pixels.float().requires_grad_()
    h = F.relu(F.conv2d(x.permute(0, 3, 1, 2) / 255, weights["kernel"], weights["kernel_bias"]))
    z = h.permute(0, 2, 3, 1).flatten(1) @ weights["dense"] + weights["dense_bias"]
    torch.testing.assert_close(teacher.logits(x), z, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(v[:, 0].sum(), x)[0].flatten() for v in (teacher.logits(x), z)]
    assert F.cosine_similarity(*gradients, dim=0) > 0.9999


def test_unsupported_operator_error_lists_all_of_them(save_model: SaveModel) -> None:
    nodes = [
        helper.make_node("StringNormalizer", ["x"], ["a"], name="normalise"),
        helper.make_node("TfIdfVectorizer", ["a"], ["b"], name="words", mode="TF"),
        helper.make_node("Mystery", ["b"], ["y"], name="strange", domain="com.example"),
    ]
    path = save_model(nodes, ["N", 4], ["N", 3], opset=17)
    with pytest.raises(UnsupportedTeacherError) as caught:
        load_teacher(path)
    message = str(caught.value)
    for part in ("'normalise'", "StringNormalizer", "17", "TfIdfVectorizer", "com.example.Mystery"):
        assert part in message
    assert "\n" not in message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("wrong", ["value", "order", "constant"])
def test_wrong_operator_is_detected(exports: Exports, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """``load_teacher`` compares with onnxruntime, and refuses a model that an operator computes wrongly."""
    original = find_operator("", "Relu", 17)
    assert original is not None
    function = {
        "value": lambda x: F.leaky_relu(x, 0.01),
        "order": lambda x: F.relu(x).flip(-1),
        "constant": lambda x: F.relu(x) + 1e-3,
    }[wrong]
    faulty = replace(original, function=function)
    path = exports.path("lenet5", "17", "softmax")
    load_teacher(path)
    monkeypatch.setattr(
        registry, "_TABLE", {key: faulty if value is original else value for key, value in registry._TABLE.items()}
    )
    with pytest.raises(ParityError, match="onnxruntime") as caught:
        load_teacher(path)
    assert caught.value.exit_code == 4


def test_model_can_be_moved_to_another_type(digits: Teacher) -> None:
    """The final layer and the graph get the same type."""
    digits.double()
    assert digits.head is not None
    assert digits.head.weight.dtype == torch.float64
    assert digits.logits(torch.rand(2, 1, 8, 8, dtype=torch.float64)).dtype == torch.float64


def test_unknown_importer_is_refused(digits_file: Path) -> None:
    with pytest.raises(UsageError, match="native"):
        load_teacher(digits_file, importer="guess")
