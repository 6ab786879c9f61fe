"""Inference of the input domain, and the map between it and the unit space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import NodeProto, TensorProto, helper

from tests.conftest import SaveModel
from zskd_onnx import UnsupportedTeacherError, UsageError
from zskd_onnx.teacher.load import load_classifier, load_teacher
from zskd_onnx.teacher.signature.domain import Domain

node = helper.make_node
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def image_model(save_model: SaveModel, before: list[NodeProto] = (), weights: dict | None = None, **options):
    """Write a small network on (N, 3, 8, 8) whose nodes ``before`` compute 'scaled' from the input 'x'."""
    g = torch.Generator().manual_seed(0)
    before = before or [node("Identity", ["x"], ["scaled"])]
    nodes = [
        *before,
        node("Conv", ["scaled", "k"], ["c"]),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    own_weights = {"k": torch.randn(4, 3, 3, 3, generator=g), "w": torch.randn(5, 4, generator=g)}
    return save_model(
        nodes, options.pop("shape", ["N", 3, 8, 8]), ["N", 5], {**own_weights, **(weights or {})}, **options
    )


def channels(values: tuple[float, ...]) -> torch.Tensor:
    """One number per channel, (1, C, 1, 1)."""
    return torch.tensor(values).view(1, -1, 1, 1)


SCALINGS = {
    "x / 255": ([("Div", torch.tensor(255.0))], (0, 255)),
    "x * (1 / 255)": ([("Mul", torch.tensor(1 / 255))], (0, 255)),
    "x / 127.5 - 1": ([("Div", torch.tensor(127.5)), ("Sub", torch.tensor(1.0))], (0, 255)),
    "(x - 127.5) / 127.5": ([("Sub", torch.tensor(127.5)), ("Div", torch.tensor(127.5))], (0, 255)),
    "2 x - 1": ([("Mul", torch.tensor(2.0)), ("Add", torch.tensor(-1.0))], (0, 1)),
    "(x - mean) / std on [0, 1]": ([("Sub", channels(IMAGENET_MEAN)), ("Div", channels(IMAGENET_STD))], (0, 1)),
    "(x - mean) / std on [0, 255]": (
        [("Sub", 255 * channels(IMAGENET_MEAN)), ("Div", 255 * channels(IMAGENET_STD))],
        (0, 255),
    ),
    "Caffe's mean": ([("Sub", channels((103.939, 116.779, 123.68)))], (0, 255)),
}


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaling_in_the_graph(save_model: SaveModel, scaling: str) -> None:
    steps, (low, high) = SCALINGS[scaling]
    nodes, weights, name = [], {}, "x"
    for i, (kind, constant) in enumerate(steps):
        out = "scaled" if i == len(steps) - 1 else f"step{i}"
        weights[f"constant{i}"] = constant
        nodes.append(node(kind, [name, f"constant{i}"], [out]))
        name = out
    domain = load_teacher(image_model(save_model, nodes, weights)).domain
    assert domain.low == (low,) * 3
    assert domain.high == (high,) * 3
    assert not domain.assumed
    assert "scaling at" in domain.range_source
    assert domain.layout == "NCHW"


def test_metadata(save_model: SaveModel) -> None:
    metadata = {"zskd.input_range": "0,1", "zskd.mean": "0.485,0.456,0.406", "zskd.std": "0.229,0.224,0.225"}
    domain = load_teacher(image_model(save_model, metadata=metadata)).domain
    np.testing.assert_allclose(domain.low, [-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)])
    np.testing.assert_allclose(domain.high, [(1 - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)])
    assert (domain.range_source, domain.assumed) == ("file metadata", False)


def test_options_override_metadata_and_graph(save_model: SaveModel) -> None:
    before, weights = [node("Div", ["x", "most"], ["scaled"])], {"most": torch.tensor(255.0)}
    path = image_model(save_model, before, weights, metadata={"zskd.input_range": "0,16"})
    assert load_teacher(path).domain.high == (16.0,) * 3
    domain = load_teacher(path, input_range=(10, 20), mean=[10], std=[1, 2, 5]).domain
    assert domain.low == (0.0, 0.0, 0.0)
    assert domain.high == (10.0, 5.0, 2.0)
    assert "option" in domain.range_source


def test_default_range_is_marked_as_assumed(save_model: SaveModel) -> None:
    domain = load_classifier(image_model(save_model)).domain  # a teacher would be asked
    assert (domain.low, domain.high) == ((0.0,) * 3, (1.0,) * 3)
    assert domain.assumed
    assert "default" in domain.range_source


def test_uint8_inputs_are_pixels(save_model: SaveModel) -> None:
    cast = [node("Cast", ["x"], ["scaled"], to=TensorProto.FLOAT)]
    domain = load_teacher(image_model(save_model, cast, input_type=TensorProto.UINT8)).domain
    assert (domain.low, domain.high, domain.dtype) == ((0.0,) * 3, (255.0,) * 3, "uint8")
    assert domain.to_array(torch.tensor([-3.0, 0.4, 0.6, 254.7, 300.0])).tolist() == [0, 0, 1, 255, 255]


def test_layout_from_option_and_from_transpose(save_model: SaveModel) -> None:
    transposed = [node("Transpose", ["x"], ["scaled"], perm=[0, 3, 1, 2])]
    domain = load_teacher(image_model(save_model, transposed, shape=["N", 8, 8, 3])).domain
    assert (domain.layout, domain.shape) == ("NHWC", (3, 8, 8))
    assert "Transpose" in domain.layout_source
    path = image_model(save_model)
    assert load_teacher(path).domain.layout == "NCHW"
    assert load_teacher(path, layout="nchw").domain.layout == "NCHW"
    with pytest.raises(UsageError, match="NCHW or NHWC"):
        load_teacher(path, layout="CHW")


def test_input_shape_of_a_file_without_fixed_size(save_model: SaveModel) -> None:
    path = image_model(save_model, shape=["N", 3, "height", "width"])
    with pytest.raises(UnsupportedTeacherError, match="--input-shape"):
        load_teacher(path)
    assert load_teacher(path, input_shape=(3, 12, 10)).domain.shape == (3, 12, 10)
    with pytest.raises(UsageError, match="fixes"):
        load_teacher(path, input_shape=(1, 12, 10))
    with pytest.raises(UsageError, match="dimensions"):
        load_teacher(path, input_shape=(12, 10))


def test_huge_sample_is_refused(save_model: SaveModel) -> None:
    with pytest.raises(UnsupportedTeacherError, match="at most"):
        load_teacher(image_model(save_model, shape=["N", 3, 10**6, 10**6]))


@pytest.mark.parametrize(
    "options",
    [
        {"input_range": (1, 0)},
        {"input_range": (0, 1, 2)},
        {"input_range": (0, float("nan"))},
        {"std": [0.0]},
        {"std": [-1.0]},
        {"mean": [0.1, 0.2]},
    ],
)
def test_invalid_options_are_refused(save_model: SaveModel, options: dict) -> None:
    with pytest.raises(UsageError):
        load_teacher(image_model(save_model), **options)


def test_token_ids_are_refused(save_model: SaveModel) -> None:
    cast = [node("Cast", ["x"], ["scaled"], to=TensorProto.FLOAT)]
    with pytest.raises(UnsupportedTeacherError, match="INT64"):
        load_teacher(image_model(save_model, cast, input_type=TensorProto.INT64))


DOMAINS = [
    Domain("x", "float32", "NCHW", (3, 4, 5), (-2.0, -1.0, 0.0), (2.0, 3.0, 255.0), "", "", "known"),
    Domain("x", "float32", "NHWC", (3, 4, 5), (-2.0, -1.0, 0.0), (2.0, 3.0, 255.0), "", "", "known"),
    Domain("x", "float32", "NCHW", (1, 4, 5), (0.0,), (1.0,), "", "", "known"),
    Domain("x", "float32", "NF", (7,), (-2.0,), (2.0,), "", "", "known"),
]


@pytest.mark.parametrize("domain", DOMAINS, ids=["NCHW", "NHWC", "unit", "NF"])
def test_to_file_and_to_unit_are_inverse(domain: Domain) -> None:
    unit = torch.rand(2, *domain.shape, requires_grad=True)
    x = domain.to_file(unit)
    assert tuple(x.shape) == domain.file_shape(2)
    torch.testing.assert_close(domain.to_unit(x), unit)
    x.sum().backward()
    span = torch.tensor([high - low for low, high in zip(domain.low, domain.high, strict=True)])
    expected = span.view(-1, 1, 1) if domain.is_image else span
    torch.testing.assert_close(unit.grad, expected.expand_as(unit))


def test_zero_maps_to_low_and_one_to_high() -> None:
    domain = DOMAINS[1]
    high = domain.to_file(torch.ones(1, 3, 2, 2))
    low = domain.to_file(torch.zeros(1, 3, 2, 2))
    assert high[0, 0, 0].tolist() == [2.0, 3.0, 255.0]
    assert low[0, 0, 0].tolist() == [-2.0, -1.0, 0.0]


def test_an_option_that_contradicts_the_file_is_doubted(save_model: SaveModel) -> None:
    before, weights = [node("Div", ["x", "most"], ["scaled"])], {"most": torch.tensor(255.0)}
    path = image_model(save_model, before, weights, metadata={"zskd.input_range": "0,16"})
    doubts = load_classifier(path, input_range=(0, 1)).domain.doubts
    assert doubts == (
        "the options give the input range 0..1, but the file gives 0..16 (file metadata); the options are taken",
    )
    assert load_classifier(path, input_range=(0, 16)).domain.doubts == ()
    path = image_model(save_model, before, weights)
    (doubt,) = load_classifier(path, input_range=(0, 1)).domain.doubts
    assert "the file gives 0..255 (scaling at" in doubt


def signal_model(save_model: SaveModel, before: list[NodeProto], shape: list[int | str], kernel: tuple[int, ...]):
    """A convolution of 'shaped', which the nodes ``before`` compute from the input 'x'."""
    nodes = [
        *before,
        node("Conv", ["shaped", "k"], ["c"], name="first"),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    g = torch.Generator().manual_seed(0)
    weights = {"k": torch.randn(4, 1, *kernel, generator=g), "w": torch.randn(5, 4, generator=g)}
    sizes = {"axis": torch.tensor([1]), "sizes": torch.tensor([-1, 1, 14, 14])}
    return save_model(nodes, shape, ["N", 5], weights | sizes)


@pytest.mark.parametrize(
    ("before", "kernel"),
    [(node("Unsqueeze", ["x", "axis"], ["shaped"]), (9,)), (node("Reshape", ["x", "sizes"], ["shaped"]), (3, 3))],
    ids=["signal", "image"],
)
def test_a_vector_that_is_convolved_is_doubted(
    save_model: SaveModel, before: NodeProto, kernel: tuple[int, ...]
) -> None:
    domain = load_classifier(signal_model(save_model, [before], ["N", 196], kernel), input_range=(-1, 1)).domain
    (doubt,) = domain.warnings
    assert "input 'x' (N, 196) is taken for a vector, but node 'first' (Conv) takes it for a signal" in doubt
    shape = ["N", 1, 196] if len(kernel) == 1 else ["N", 1, 14, 14]
    again = signal_model(save_model, [node("Identity", ["x"], ["shaped"])], shape, kernel)
    assert load_classifier(again, input_range=(-1, 1)).domain.warnings == ()


def test_a_vector_of_features_is_not_doubted(save_model: SaveModel) -> None:
    nodes = [
        node("BatchNormalization", ["x", "one", "zero", "zero", "one"], ["n"]),
        node("Gemm", ["n", "w"], ["y"], transB=1),
    ]
    weights = {"w": torch.randn(5, 4), "one": torch.ones(4), "zero": torch.zeros(4)}
    assert load_classifier(save_model(nodes, ["N", 4], ["N", 5], weights), input_range=(-1, 1)).domain.warnings == ()
