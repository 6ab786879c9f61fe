"""Convolutions fused with their pooling: the same values and gradients, and only where it is valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from onnx import NodeProto, helper

from tests.conftest import Exports, SaveModel
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.probe import activation_maps_probe, last_convolution_probe
from zskd_onnx.teacher.teacher import Teacher

node = helper.make_node
RNG = torch.Generator().manual_seed(0)
WEIGHTS = {
    "w": torch.randn(6, 1, 5, 5, generator=RNG),
    "b": torch.randn(6, generator=RNG),
    "head": torch.randn(6, 3, generator=RNG),
}


def chain(
    *, convolution: dict[str, Any] | None = None, pool: dict[str, Any] | None = None, relu: bool = True
) -> list[NodeProto]:
    """Conv, Relu, MaxPool, with more attributes."""
    pooled = node(
        "MaxPool", ["r" if relu else "c"], ["v"], **{"kernel_shape": [2, 2], "strides": [2, 2], **(pool or {})}
    )
    rectified = [node("Relu", ["c"], ["r"])] if relu else []
    return [node("Conv", ["x", "w", "b"], ["c"], **(convolution or {})), *rectified, pooled]


CASES: dict[str, tuple[list[NodeProto], bool]] = {
    "a Relu in between": (chain(), True),
    "no Relu": (chain(relu=False), True),
    "padding": (chain(convolution={"pads": [1, 2, 1, 2]}), True),
    "default attributes written out": (
        chain(convolution={"strides": [1, 1], "group": 1}, pool={"pads": [0, 0, 0, 0], "dilations": [1, 1]}),
        True,
    ),
    "strides": (chain(convolution={"strides": [2, 2]}), False),
    "dilations": (chain(convolution={"dilations": [2, 2]}), False),
    "another padding after the image": (chain(convolution={"pads": [1, 1, 2, 2]}), False),
    "automatic padding": (chain(convolution={"auto_pad": "SAME_UPPER"}), False),
    "overlapping windows": (chain(pool={"strides": [1, 1]}), False),
    "windows of 3 x 3": (chain(pool={"kernel_shape": [3, 3]}), False),
    "a partial last window": (chain(pool={"ceil_mode": 1}), False),
    "padded pooling": (chain(pool={"pads": [1, 1, 1, 1]}), False),
    "dilated windows": (chain(pool={"dilations": [2, 2]}), False),
    "a Relu with two readers": (
        [*chain(), node("GlobalMaxPool", ["r"], ["g"]), node("Mul", ["v", "g"], ["z"])],
        False,
    ),
    "a convolution with two readers": (
        [*chain(), node("GlobalMaxPool", ["c"], ["g"]), node("Mul", ["v", "g"], ["z"])],
        False,
    ),
}


def gradient(logits: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the gradient of their squared sum with respect to x."""
    x = x.clone().requires_grad_()
    y = logits(x)
    return y.detach(), torch.autograd.grad(y.square().sum(), x)[0]


def functions(teacher: Teacher) -> list[str]:
    """Names of the functions that the fused graph calls."""
    return [n.target.__name__ for n in teacher.graphs.fast_scores.graph.nodes if n.op == "call_function"]


@pytest.mark.parametrize("name", CASES)
def test_convolutions_are_fused_where_valid(save_model: SaveModel, name: str) -> None:
    nodes, fused = CASES[name]
    value = nodes[-1].output[0]
    ends = [
        node("GlobalAveragePool", [value], ["a"]),
        node("Flatten", ["a"], ["f"]),
        node("MatMul", ["f", "head"], ["y"]),
    ]
    teacher = load_teacher(save_model([*nodes, *ends], ["N", 1, 15, 17], ["N", 3], WEIGHTS))
    assert ("pooled_convolution" in functions(teacher)) is fused
    assert ("conv" not in functions(teacher)) is fused
    assert (teacher.graphs.fast_scores is teacher.graphs.scores) is not fused
    x = torch.rand(5, 1, 15, 17, generator=torch.Generator().manual_seed(1))
    graph = teacher.graph()
    logits, input_gradient = gradient(teacher.logits, x)
    plain_logits, plain_gradient = gradient(lambda x: graph(x)[0], x)
    torch.testing.assert_close(logits, plain_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(input_gradient, plain_gradient, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(teacher.logits(x), plain_logits, rtol=1e-4, atol=1e-4)


def test_name_clash_with_a_weight_of_the_file(save_model: SaveModel) -> None:
    nodes = [*chain(), node("Mul", ["v", "v_blocks"], ["m"]), node("GlobalAveragePool", ["m"], ["a"])]
    ends = [node("Flatten", ["a"], ["f"]), node("MatMul", ["f", "head"], ["y"])]
    weights = WEIGHTS | {"v_blocks": torch.tensor([3.0])}
    teacher = load_teacher(save_model([*nodes, *ends], ["N", 1, 15, 17], ["N", 3], weights))
    x = torch.rand(2, 1, 15, 17, generator=torch.Generator().manual_seed(1))
    assert "pooled_convolution" in functions(teacher)
    torch.testing.assert_close(gradient(teacher.logits, x)[0], teacher.graph()(x)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exporter", ["dynamo", "17"])
def test_both_convolutions_of_lenet_are_fused(exports: Exports, exporter: str) -> None:
    assert functions(load_teacher(exports.path("lenet5", exporter))).count("pooled_convolution") == 2


def test_probed_values_are_not_fused(exports: Exports) -> None:
    """A probe's values keep their size, so their convolutions are not fused.

    The probe of the last convolution returns the value behind its Relu. The probe of activation maps
    returns those before pooling, of both sizes.
    """
    teacher = load_teacher(exports.path("lenet5", "dynamo"))
    x = torch.rand(3, *teacher.domain.shape).requires_grad_()
    plain, last, blocks = teacher.graph(), last_convolution_probe(teacher), activation_maps_probe(teacher)
    for probe, fused in ((last, 1), (blocks, 0)):
        names = [n.target.__name__ for n in probe._graph.graph.nodes if n.op == "call_function"]
        assert names.count("pooled_convolution") == fused
        logits, _ = probe(teacher.domain.to_file(x))
        torch.testing.assert_close(logits, plain(teacher.domain.to_file(x))[0], rtol=1e-4, atol=1e-4)
    (activated,) = last(x)[1]
    assert activated.shape[2:] == blocks.sizes[-2]
    assert float(activated.detach().amin()) == 0
