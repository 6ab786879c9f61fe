"""Quantised models in onnxruntime, beside the float models that they come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper

from tests.conftest import SaveModel
from tests.pipeline.drop_in_teachers import (
    FIXED,
    FORMS,
    HEAD,
    NORMALISATION,
    RESIDUAL,
    WEIGHTS,
    feeds,
    half_precision,
    save,
    softmax,
)
from zskd_onnx import Teacher, UnsupportedTeacherError, load_teacher
from zskd_onnx.export.settings import Form
from zskd_onnx.quantization.quantise_model import quantise_model

SINGLE = [form for form in FORMS if form is not half_precision]
STORED = {"int8": "int8", "fp16": "float16"}
QUANTISED = ("Conv", "Gemm", "MatMul")


def samples(teacher: Teacher, count: int = 40) -> torch.Tensor:
    return torch.rand((count, *teacher.domain.shape), generator=torch.Generator().manual_seed(0))


def quantised(path: Path, form: Form, name: str = "") -> onnx.ModelProto:
    teacher = load_teacher(path, fix=FIXED.get(name))
    return quantise_model(teacher, form, samples(teacher))


def interface(session: ort.InferenceSession) -> list[tuple[str, str, list[int | str]]]:
    return [(value.name, value.type, value.shape) for value in (*session.get_inputs(), *session.get_outputs())]


def session_of(model: Path | onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(str(model) if isinstance(model, Path) else model.SerializeToString())


def as_array(output: object) -> np.ndarray:
    rows = output if isinstance(output, list) else []
    return np.array([list(row.values()) for row in rows]) if rows else np.asarray(output)


@pytest.mark.parametrize("to", ["int8", "fp16"])
@pytest.mark.parametrize("form", SINGLE, ids=lambda form: form.__name__)
def test_each_form_keeps_its_interface_and_nearly_its_values(
    tmp_path: Path, form: Callable[[Path], Path], to: Form
) -> None:
    """Labels, ZipMap, NHWC, uint8, external data, fixed batch, a second input."""
    path = form(tmp_path / "float.onnx")
    before, after = session_of(path), session_of(quantised(path, to, form.__name__))
    assert interface(after) == interface(before)
    x = feeds(path, form.__name__)
    x |= {name: np.full_like(x[name], value) for name, value in FIXED.get(form.__name__, {}).items()}
    reference, values = (as_array(session.run(None, x)[-1]) for session in (before, after))
    steps = np.ptp(reference) / 255
    assert 0 < np.abs(values - reference).max() < (20 * steps if to == "int8" else 1e-3)


def test_labels_belong_to_the_quantised_scores(tmp_path: Path) -> None:
    label_first = next(form for form in FORMS if form.__name__ == "label_first")
    path = label_first(tmp_path / "float.onnx")
    labels, scores = session_of(quantised(path, "int8")).run(None, {"x": samples(load_teacher(path), 100).numpy()})
    assert labels.tolist() == [max(row, key=row.get) for row in scores]
    assert len(set(labels.tolist())) > 1


def test_weights_are_integers_with_a_scale_for_each_channel(tmp_path: Path) -> None:
    model = quantised(softmax(tmp_path / "float.onnx"), "int8")
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    producers = {node.output[0]: node for node in model.graph.node}
    layers = [node for node in model.graph.node if node.op_type in QUANTISED]
    assert len(layers) == 3  # batch normalisation has been folded into the first
    for layer in layers:
        dequantiser = producers[layer.input[1]]
        weight, scale = (constants[name] for name in dequantiser.input[:2])
        assert weight.dtype == np.int8
        assert 2 * 255 * int(np.abs(weight).max()) < 2**15  # two products fit into the 16 bits of CPUs without VNNI
        assert np.abs(weight).max() > 60
        channels = weight.shape[1 if layer.op_type == "Gemm" else 0]
        assert scale.shape == (channels,)
        assert producers[layer.input[0]].op_type == "DequantizeLinear"
    softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
    assert [node.output[0] for node in softmaxes] == ["y"]  # probabilities are not rounded to 255 steps
    onnx.checker.check_model(model)


def test_onnxruntime_runs_the_layers_with_integers(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    model = quantised(softmax(tmp_path / "float.onnx"), "int8")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert operators.count("QLinearConv") == 2
    assert operators.count("QGemm") == 1
    assert "Conv" not in operators


def test_ranges_come_from_the_samples(tmp_path: Path) -> None:
    """Samples that are too dark clip what brighter ones need."""
    path = save(tmp_path / "float.onnx", RESIDUAL + HEAD, "float[N, 3, 8, 8] x")
    teacher = load_teacher(path)
    x = samples(teacher)
    reference = session_of(path).run(None, {"x": x.numpy()})[0]
    errors = []
    for scale in (1.0, 0.1):
        values = session_of(quantise_model(teacher, "int8", scale * x)).run(None, {"x": x.numpy()})[0]
        errors.append(np.abs(values - reference).mean())
    assert errors[1] > 5 * errors[0]


ATTENTION = """
    q = MatMul (x, wq)
    k = MatMul (x, wk)
    transposed = Transpose <perm = [0, 2, 1]> (k)
    products = MatMul (q, transposed)
    shares = Softmax <axis = -1> (products)
    mixed = MatMul (shares, q)
    flat = ReduceMean <axes = [1], keepdims = 0> (mixed)
"""


def test_the_softmax_of_attention_stays_in_float(tmp_path: Path) -> None:
    weights = {"wq": (16, 8), "wk": (16, 8), "w": (8, 4), "b": (4,)}
    path = save(tmp_path / "float.onnx", ATTENTION + HEAD, "float[N, 6, 16] x", weights=weights)
    model = quantised(path, "int8")
    producers = {node.output[0]: node.op_type for node in model.graph.node}
    layers = {
        node.name: [producers[name] for name in node.input] for node in model.graph.node if node.op_type == "MatMul"
    }
    integers = ["DequantizeLinear"] * 2
    assert layers["node q"] == layers["node k"] == integers
    assert layers["node mixed"] == ["Softmax", "DequantizeLinear"]


def test_batch_normalisation_is_folded_where_constants_stand_in_the_way(tmp_path: Path) -> None:
    """torch's exporter writes a bias of zeros as an expanded scalar."""
    text = RESIDUAL.replace("r = Relu (h)", "n = BatchNormalization (h, scale, shift, zeros, var) r = Relu (n)")
    expand = "wide = CastLike (zero, scale) size = Shape (scale) zeros = Expand (wide, size)"
    weights = {**WEIGHTS, **NORMALISATION, "zero": np.array(0, np.float32)}
    del weights["mean"]
    path = save(tmp_path / "float.onnx", expand + text + HEAD, "float[N, 3, 8, 8] x", weights=weights)
    operators = [node.op_type for node in quantised(path, "int8").graph.node]
    assert operators.count("Conv") == 2
    assert not {"BatchNormalization", "Expand", "Mul"} & set(operators)


@pytest.mark.parametrize("opset", [11, 12])
def test_old_operators_are_converted(save_model: SaveModel, opset: int) -> None:
    """Weights have a scale for each channel from version 13 on."""
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"])]
    weights = {"w": torch.randn((6, 3), generator=torch.Generator().manual_seed(0))}
    path = save_model(nodes, ["N", 6], ["N", 3], weights, opset=opset, metadata={"zskd.input_range": "0,1"})
    model = quantised(path, "int8")
    assert [entry.version for entry in model.opset_import] == [13]
    onnx.checker.check_model(model)


@pytest.mark.parametrize("to", ["int8", "fp16"])
def test_a_file_that_is_not_in_single_precision_is_refused(tmp_path: Path, to: Form) -> None:
    path = softmax(tmp_path / "float.onnx")
    again = tmp_path / "again.onnx"
    onnx.save(quantised(path, to), again)
    what = "is quantised" if to == "int8" else "half precision"
    with pytest.raises(UnsupportedTeacherError, match=f"again.onnx: .*{what}"):
        quantised(again, "int8")
    with pytest.raises(UnsupportedTeacherError, match=what):
        quantised(again, "fp16")


def test_values_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    large = {name: 1e3 * rng.normal(size=WEIGHTS[name]) for name in ("w1", "w2", "w")}
    path = save(tmp_path / "float.onnx", RESIDUAL + HEAD, "float[N, 3, 8, 8] x", weights={**WEIGHTS, **large})
    with pytest.raises(
        UnsupportedTeacherError, match=r"value '\w+' reaches \S+, beyond the range of fp16 \(65504\); use int8"
    ):
        quantised(path, "fp16")
    assert quantised(path, "int8")


def test_a_loop_that_no_class_depends_on_is_refused(tmp_path: Path) -> None:
    """The importer reads only what the scores depend on; the loop might never end."""
    path = softmax(tmp_path / "float.onnx")
    model = onnx.load(path)
    body = onnx.parser.parse_graph(
        "body (int64 i, bool before, float state) => (bool after, float next) "
        "{ after = Identity (before) next = Identity (state) }"
    )
    for name, array in {"yes": np.array(True), "zero": np.array(0, np.float32)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model.graph.node.append(helper.make_node("Size", ["s"], ["size"]))
    model.graph.node.append(helper.make_node("Mul", ["size", "size"], ["endless"]))
    model.graph.node.append(helper.make_node("Loop", ["endless", "yes", "zero"], ["other"], name="turns", body=body))
    model.graph.output.append(helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, []))
    onnx.save(model, path)
    with pytest.raises(UnsupportedTeacherError, match=r"node 'turns' \(Loop\) serves other outputs than 'y'"):
        quantised(path, "int8")


def test_a_file_without_weights_is_refused(save_model: SaveModel) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    path = save_model(nodes, ["N", 3, 8, 8], ["N", 3], metadata={"zskd.input_range": "0,1"})
    for to in STORED:
        with pytest.raises(UnsupportedTeacherError, match=f"no weight became {to}"):
            quantised(path, to)
