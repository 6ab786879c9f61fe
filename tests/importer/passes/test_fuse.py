"""Fused nodes: the same values and gradients, and only where it is valid."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import NodeProto, helper
from torch import Tensor

from tests.conftest import SaveModel
from zskd_onnx.teacher.load import load_teacher

node = helper.make_node
SHAPE = ["N", 2, 4, 6]
RNG = torch.Generator().manual_seed(0)
WEIGHTS = {
    "half": torch.tensor(0.5),
    "one": torch.tensor(1.0),
    "root": torch.tensor(math.sqrt(2)),
    "w": torch.randn(6, 6, generator=RNG),
    "b": torch.randn(6, generator=RNG),
    "column": torch.randn(4, 1, generator=RNG),
    **{f"i{i}": torch.tensor([i]) for i in (0, 1, 2, 4, 9)},
    "head": torch.randn(48, 3, generator=RNG),
}


def gelu(root: str = "root", half: str = "half") -> list[NodeProto]:
    return [
        node("Div", ["x", root], ["d"]),
        node("Erf", ["d"], ["e"]),
        node("Add", ["e", "one"], ["a"]),
        node("Mul", ["x", "a"], ["m"]),
        node("Mul", ["m", half], ["v"]),
    ]


def scaled_attention() -> list[NodeProto]:
    nodes = attention()
    nodes[1].input[:] = ["q", "kk"]
    scales = [node("Mul", ["x", "half"], ["q"]), node("Mul", ["root", "k"], ["kk"])]
    return [nodes[0], *scales, *nodes[1:]]


def attention(axis: int = -1) -> list[NodeProto]:
    return [
        node("Transpose", ["x"], ["k"], perm=[0, 1, 3, 2]),
        node("MatMul", ["x", "k"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=axis),
        node("MatMul", ["p", "x"], ["v"]),
    ]


def linear(bias: str) -> list[NodeProto]:
    return [node("MatMul", ["x", "w"], ["m"]), node("Add", [bias, "m"], ["v"])]


def linear_with_two_readers() -> list[NodeProto]:
    return [*linear("b")[:1], node("Add", ["m", "b"], ["a"]), node("Mul", ["a", "m"], ["v"])]


def sliced(*ends: int, axis: int = 2) -> list[NodeProto]:
    """Pieces of x, each times another number, concatenated again."""
    starts = [0, *ends[:-1]]
    cuts = [
        node("Slice", ["x", f"i{start}", f"i{end}", f"i{axis}"], [f"c{start}"])
        for start, end in zip(starts, ends, strict=True)
    ]
    scaled = [node("Mul", [f"c{start}", "root" if start else "half"], [f"m{start}"]) for start in starts]
    return [*cuts, *scaled, node("Concat", [f"m{start}" for start in starts], ["v"], axis=axis)]


CASES: dict[str, tuple[list[NodeProto], list[str]]] = {
    "gelu": (gelu(), ["gelu"]),
    "another divisor": (gelu(root="one"), []),
    "another factor": (gelu(half="one"), []),
    "attention": (attention(), ["attention"]),
    "attention with scales": (scaled_attention(), ["attention"]),
    "a softmax over another axis": (attention(2), []),
    "linear": (linear("b"), ["linear"]),
    "a bias for each row": (linear("column"), []),
    "slices": (sliced(1, 2, 4), ["parts"]),
    "slices beyond the end": (sliced(1, 2, 9), ["parts"]),
    "one slice": (sliced(4), []),
    "a product with two readers": (linear_with_two_readers(), []),
}


def value_and_gradient(path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = load_teacher(path).logits(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    return y.detach(), gradient


@pytest.mark.parametrize("name", CASES)
def test_nodes_are_fused_where_valid(save_model: SaveModel, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    nodes, expected = CASES[name]
    ends = [node("Flatten", ["v"], ["f"]), node("MatMul", ["f", "head"], ["y"])]
    path = save_model([*nodes, *ends], SHAPE, ["N", 3], WEIGHTS)
    x = torch.rand(5, 2, 4, 6) * 4 - 2
    teacher = load_teacher(path)
    functions = [n.target.__name__ for n in teacher.graphs.scores.graph.nodes if n.op == "call_function"]
    assert [f for f in functions if f in ("gelu", "attention", "linear", "parts")] == expected

    y, gradient = value_and_gradient(path, x)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(y.numpy(), session.run(None, {"x": x.numpy()})[0], rtol=1e-4, atol=1e-4)
    monkeypatch.setattr("zskd_onnx.importer.translate.fuse", lambda model: None)
    plain, plain_gradient = value_and_gradient(path, x)
    torch.testing.assert_close(y, plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient, plain_gradient, rtol=1e-3, atol=1e-3)
