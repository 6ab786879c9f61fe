"""Teachers that onnxruntime has quantised, compared with onnxruntime and with their float originals."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor, nn

from tests.conftest import Exports, SaveModel, export
from zskd_onnx import ParityError
from zskd_onnx.assets.make_digits_teacher import training_digits
from zskd_onnx.importer.passes.single_precision import ROUNDED_TO
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.system.onnx_runtime import open_session, run
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.quantisation_step import quantisation_step
from zskd_onnx.teacher.teacher import Teacher

pytestmark = pytest.mark.filterwarnings("ignore")  # onnxruntime's quantiser raises warnings about numpy and itself

Array = np.ndarray[Any, Any]


class Batches(CalibrationDataReader):
    """Calibration samples in four batches."""

    def __init__(self, name: str, x: Array) -> None:
        self.batches = iter([{name: batch} for batch in np.split(x, 4)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.batches, None)


def static(source: Path, file: Path, x: Array, form: QuantFormat = QuantFormat.QDQ, per_channel: bool = False) -> None:
    name = onnx.load(source).graph.input[0].name
    quantize_static(source, file, Batches(name, x), quant_format=form, per_channel=per_channel)


def dynamic(source: Path, file: Path, x: Array, per_channel: bool = False) -> None:
    quantize_dynamic(source, file, per_channel=per_channel)


def half(source: Path, file: Path, x: Array, float_ends: bool = False) -> None:
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=float_ends), file)


WAYS: dict[str, Callable[[Path, Path, Array], None]] = {
    "qdq": static,
    "qdq-per-channel": partial(static, per_channel=True),
    "qoperator": partial(static, form=QuantFormat.QOperator),
    "qoperator-per-channel": partial(static, form=QuantFormat.QOperator, per_channel=True),
    "dynamic": dynamic,
    "dynamic-per-channel": partial(dynamic, per_channel=True),
    "half": half,
    "half-float-ends": partial(half, float_ends=True),
}
INTEGERS = [name for name in WAYS if "half" not in name]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@dataclass(frozen=True)
class Digits:
    """The bundled teacher, its quantised files by the way they were made, and held-out digits."""

    original: Teacher
    files: dict[str, Path]
    x: Array


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, digits_file: Path) -> Digits:
    folder = tmp_path_factory.mktemp("quantised")
    prepared = folder / "prepared.onnx"
    quant_pre_process(digits_file, prepared)
    files = {way: folder / f"{way}.onnx" for way in WAYS}
    for way, file in files.items():
        WAYS[way](digits_file if "half" in way else prepared, file, training_digits()[0][:512])
    return Digits(load_teacher(digits_file), files, held_out_digits()[0][:256])


def load(digits: Digits, way: str) -> Teacher:
    return load_teacher(digits.files[way], input_range=(0, 16), layout="NCHW")


def gradient(teacher: Teacher, x: Array) -> Tensor:
    """Input gradient (N, pixels) of the synthesis loss, with classes in turn as targets."""
    inputs = torch.from_numpy(x).requires_grad_()
    targets = torch.arange(len(x)) % teacher.classes
    loss = F.cross_entropy(teacher.logits(inputs) / 20, targets, reduction="sum")
    return torch.autograd.grad(loss, inputs)[0].flatten(1)


def through_head(teacher: Teacher, x: Tensor) -> Tensor:
    """W h + b for the features h of x."""
    head = teacher.head
    assert head is not None
    logits = teacher.features(x) @ head.weight.T
    return logits if head.bias is None else logits + head.bias


def kernels_saturate() -> bool:
    """Whether onnxruntime sums integer products in 16 bits on this machine, as it does on x86 without VNNI."""
    ends = [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 2]), helper.make_empty_tensor_value_info("y")]
    weight = helper.make_tensor("w", TensorProto.INT8, [2, 1], [127, 127])
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "sum", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    (total,) = run(open_session(model.SerializeToString(), optimise=False), np.full((1, 2), 255, np.uint8))
    return bool(total.item() != 2 * 255 * 127)


@pytest.mark.parametrize("way", INTEGERS)
@pytest.mark.parametrize("optimise", [False, True])
def test_outputs_are_within_one_step_of_onnxruntime(digits: Digits, way: str, optimise: bool) -> None:
    if "dynamic" in way and not optimise and kernels_saturate():
        pytest.skip("this processor's integer kernels saturate when nodes run one by one")
    teacher = load(digits, way)
    (reference,) = run(open_session(digits.files[way], optimise=optimise), digits.x)
    output = teacher(torch.from_numpy(digits.x)).numpy()
    step = quantisation_step(teacher.source.model.graph.outputs[0], reference)
    assert step < np.ptp(reference) / 200
    assert np.abs(output - reference).max() <= 1.001 * step
    assert (np.abs(output - reference) > 1e-4 * np.abs(reference).max()).mean() < 0.01


@pytest.mark.parametrize("way", WAYS)
def test_head_is_close_to_the_float_head(digits: Digits, way: str) -> None:
    head, original = load(digits, way).head, digits.original.head
    assert head is not None
    assert head.bias is not None
    assert original is not None
    assert original.bias is not None
    assert (head.weight - original.weight).norm() < 0.01 * original.weight.norm()
    torch.testing.assert_close(head.bias, original.bias, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("way", WAYS)
def test_features_are_in_real_units(digits: Digits, way: str) -> None:
    """W h + b equals the logits, except for rounding and saturation by a static quantiser behind them."""
    teacher, x = load(digits, way), torch.from_numpy(digits.x)
    logits = teacher.logits(x)
    step = quantisation_step(teacher.source.model.graph.outputs[0], logits.numpy())
    unsaturated = (logits > logits.min()) & (logits < logits.max())
    allowed = 1e-4 if way.startswith(("dynamic", "half")) else 0.51 * step
    assert (through_head(teacher, x) - logits)[unsaturated].abs().max() < allowed
    expected = digits.original.features(x)
    assert torch.cosine_similarity(teacher.features(x), expected).min() > 0.99
    assert (teacher.features(x) - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("way", WAYS)
def test_weights_count_as_parameters(digits: Digits, way: str) -> None:
    """The count also includes a scale and a zero point per channel."""
    assert 1 <= load(digits, way).parameters_count / digits.original.parameters_count < 1.02


@pytest.mark.parametrize("way", WAYS)
def test_input_gradient_is_close_to_the_float_gradient(digits: Digits, way: str) -> None:
    cosine = torch.cosine_similarity(gradient(load(digits, way), digits.x), gradient(digits.original, digits.x))
    assert cosine.mean() > 0.98
    assert cosine.min() > 0.9


@pytest.mark.parametrize("way", ["half", "half-float-ends"])
def test_half_precision_runs_in_float32(digits: Digits, way: str) -> None:
    teacher = load(digits, way)
    written = torch.float16 if way == "half" else torch.float32
    assert {b.dtype for b in teacher.buffers() if b.is_floating_point()} == {torch.float32}
    assert teacher.domain.dtype == str(written).removeprefix("torch.")
    assert teacher.output.dtype == written
    x = torch.from_numpy(digits.x)
    for inputs in (x, x.half()):
        assert teacher(inputs).dtype == written
    (reference,) = run(open_session(digits.files[way]), digits.x.astype(teacher.domain.dtype))
    np.testing.assert_allclose(teacher(x).numpy(), reference, rtol=1e-2, atol=1e-2 * np.abs(reference).max())


def test_small_gradients_do_not_vanish_in_half_precision(digits: Digits) -> None:
    """1e-9 would be rounded to 0 in half precision, whose smallest number is 6e-8."""
    teacher = load(digits, "half")
    unit = torch.rand(4, 1, 8, 8).requires_grad_()
    loss = 1e-9 * teacher.logits(teacher.domain.to_file(unit)).sum()
    (small_gradient,) = torch.autograd.grad(loss, unit)
    (expected,) = torch.autograd.grad(digits.original.logits(16 * unit).sum(), unit)
    assert torch.cosine_similarity((1e9 * small_gradient).flatten(), expected.flatten(), 0) > 0.99


def test_half_precision_weights_in_a_float_file(save_model: SaveModel) -> None:
    """Nothing is rounded at run time, so the float32 tolerance applies."""
    nodes = [
        helper.make_node("Cast", ["w"], ["v"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    teacher = load_teacher(save_model(nodes, ["N", 4], ["N", 3], {"w": torch.randn(4, 3).half()}))
    assert teacher.head is not None
    assert ROUNDED_TO not in teacher.source.model.meta
    assert teacher.parity < 1e-6


W, B = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), torch.linspace(-1, 1, 5)
KERNEL = W[:, :, None, None].contiguous()
RELU = helper.make_node("Relu", ["x"], ["h"])
MATMUL = [helper.make_node("MatMul", ["h", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["l"])]
POOLED = [helper.make_node("GlobalAveragePool", ["c"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
HEADS: dict[str, tuple[list[onnx.NodeProto], list[int], Tensor]] = {
    "gemm": ([RELU, helper.make_node("Gemm", ["h", "w", "b"], ["y"], transB=1)], [8], W),
    "matmul, softmax": ([RELU, *MATMUL, helper.make_node("Softmax", ["l"], ["y"], axis=1)], [8], W.T.contiguous()),
    "convolution, pool": ([RELU, helper.make_node("Conv", ["h", "w", "b"], ["c"]), *POOLED], [8, 4, 4], KERNEL),
}
"""Final layers: nodes, shape of a sample, weights as the file stores them."""


@pytest.mark.parametrize("optimised", [False, True])
@pytest.mark.parametrize("way", INTEGERS)
@pytest.mark.parametrize("name", HEADS)
def test_head_of_every_kind(save_model: SaveModel, tmp_path: Path, name: str, way: str, optimised: bool) -> None:
    """The file as onnxruntime quantises it, and the same file after its optimiser has fused nodes."""
    nodes, sample, weight = HEADS[name]
    source = save_model(nodes, ["N", *sample], ["N", 5], {"w": weight, "b": B})
    x = np.random.default_rng(0).uniform(-2, 2, (256, *sample)).astype(np.float32)
    file = tmp_path / "quantised.onnx"
    WAYS[way](source, file, x)
    if optimised:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(file)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 4
        onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    teacher = load_teacher(file, input_range=(-2, 2))
    assert teacher.head is not None
    assert (teacher.head.weight - W).norm() < 0.01 * W.norm()
    assert teacher.head.bias is not None
    torch.testing.assert_close(teacher.head.bias, B, rtol=0, atol=0.05)
    assert teacher.output.kind == ("softmax" if "softmax" in name else "logits")
    inputs = torch.from_numpy(x)
    logits = teacher.logits(inputs)
    # An integer bias and an integer mean are each rounded again.
    assert (through_head(teacher, inputs) - logits).abs().quantile(0.9) < 3 * np.ptp(logits.numpy()) / 255


def test_no_head_if_scales_differ(save_model: SaveModel) -> None:
    """Quantised with scale 0.1 and dequantised with 0.2, the logits are 2 (W h + b): W would be wrong."""
    nodes = [
        RELU,
        helper.make_node("Gemm", ["h", "w", "b"], ["g"], transB=1),
        helper.make_node("QuantizeLinear", ["g", "small", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "large", "zero"], ["y"]),
    ]
    scales = {"small": torch.tensor(0.1), "large": torch.tensor(0.2), "zero": torch.tensor(0, dtype=torch.int8)}
    teacher = load_teacher(save_model(nodes, ["N", 8], ["N", 5], {"w": W, "b": B, **scales}))
    assert teacher.head is None


def test_search_through_nested_products_ends(save_model: SaveModel) -> None:
    names = ["x", *(f"s{i}" for i in range(60)), "y"]
    nodes = [helper.make_node("Mul", [a, a], [b]) for a, b in itertools.pairwise(names)]
    assert load_teacher(save_model(nodes, ["N", 4], ["N", 4], {}), input_range=(0, 0.5)).head is None


class Attention(nn.Module):
    """A transformer block on patches, with quantised products of two activations."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.classify = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        q, k, v = (
            t.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)
            for t in self.qkv(self.before(x)).chunk(3, -1)
        )
        mixed = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, -1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return self.classify((x + self.mlp(self.between(x))).mean(1))


@pytest.mark.parametrize("way", ["qdq-per-channel", "qoperator", "dynamic"])
@pytest.mark.parametrize("network", ["resnet", "attention"])
def test_residuals_and_attention(exports: Exports, tmp_path: Path, network: str, way: str) -> None:
    torch.manual_seed(0)
    module = exports.network("resnet").module if network == "resnet" else Attention().eval()
    source, prepared, file = (tmp_path / f"{name}.onnx" for name in ("float", "prepared", "quantised"))
    export(module, (3, 16, 16), source, "17", fixed=False)
    quant_pre_process(source, prepared)
    x = np.random.default_rng(0).random((64, 3, 16, 16)).astype(np.float32)
    WAYS[way](prepared, file, x)
    teacher = load_teacher(file, input_range=(0, 1))
    assert teacher.head is not None
    cosine = torch.cosine_similarity(gradient(teacher, x), gradient(load_teacher(source, input_range=(0, 1)), x))
    assert cosine.median() > 0.95


def test_wrong_operator_in_a_quantised_file_is_detected(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tolerance of one step does not hide an operator that is wrong by five per cent."""
    from zskd_onnx.importer.operators import registry
    from zskd_onnx.importer.operators.registry import find_operator

    right = find_operator("", "Div", 18)
    assert right is not None
    wrong = registry.Operator(lambda a, b: 1.05 * a / b, right.host_inputs, right.counts_outputs)
    table = {key: wrong if value is right else value for key, value in registry._TABLE.items()}
    monkeypatch.setattr(registry, "_TABLE", table)
    with pytest.raises(ParityError, match="differs from onnxruntime"):
        load(digits, "qoperator")


@pytest.mark.parametrize("way", ["qdq", "qoperator"])
def test_domain_from_a_quantised_input(digits: Digits, way: str, tmp_path: Path) -> None:
    """The calibration images had pixels from 0 to 16. Only the input's quantiser holds that range here."""
    model = onnx.load(digits.files[way])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    domain = load_teacher(tmp_path / "bare.onnx").domain
    np.testing.assert_allclose([*domain.low, *domain.high], [0, 16], atol=16 / 255)
    assert (domain.layout, domain.assumed) == ("NCHW", False)
    assert "quantisation at" in domain.range_source
