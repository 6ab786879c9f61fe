"""Shape arithmetic of exporters: correct at every batch size, and compiled without a graph break."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tests.importer.operators.single_node import imported
from zskd_onnx.importer.operators import host


class ClassToken(nn.Module):
    """Expands a parameter to the batch, as Shape, ConstantOfShape, Mul, Equal, Where and Expand."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)


class Zeros(nn.Module):
    """Creates zeros from a shape, and positions from a length."""

    def forward(self, x: Tensor) -> Tensor:
        start = torch.zeros(x.shape[0], x.shape[1], 4)
        rows = torch.arange(x.shape[0]).unsqueeze(1).to(x.dtype)
        return (x + start).flatten(1) * rows / x.shape[-1] ** 0.5


class Recurrent(nn.Module):
    """An LSTM whose initial state has the batch size in its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 3, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0][:, -1]


@pytest.mark.parametrize("make", [ClassToken, Zeros, Recurrent])
def test_exports_run_at_every_batch_size(make: Callable[[], nn.Module], tmp_path: object) -> None:
    torch.manual_seed(0)
    module = make().eval()
    path = f"{tmp_path}/model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the legacy exporter is deprecated, but many files come from it
        torch.onnx.export(
            module, (torch.randn(2, 3, 4),), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}
        )
    model = imported(onnx.load(path))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, 4)
        torch.testing.assert_close(model(x)[0], module(x))
        torch.testing.assert_close(compiled(x)[0], module(x))


NUMBERS = [
    ("Div", (np.array([-7, 7]), np.array([2, 2])), {}),
    ("Mod", (np.array([-7, 7]), np.array([3, -3])), {}),
    ("Mod", (np.array([-7, 7]), np.array([3, -3])), {"fmod": 1}),
    ("Max", (np.array([1, 5]), np.array([3]), np.array([2, 2])), {}),
    ("Where", (np.array([True, False]), np.array([1, 2]), np.array([3, 4])), {}),
    ("Equal", (np.array([1, 2]), np.array([1])), {}),
    ("Neg", (np.array([1, -2]),), {}),
    ("Gather", (np.array([4, 5, 6]), np.array([-1, 0])), {"axis": 0}),
    ("Concat", (np.array([4, 5]), np.array([6])), {"axis": 0}),
    ("Range", (np.array(2), np.array(9), np.array(3)), {}),
    ("Slice", (np.arange(6), np.array([-1]), np.array([-100]), np.array([0]), np.array([-2])), {}),
    ("ReduceProd", (np.array([4, 5]),), {"keepdims": 0}),
    ("ConstantOfShape", (np.array([3]),), {}),
    ("Cast", (np.array([2, 0]),), {"to": TensorProto.BOOL}),
    ("Shape", (np.array([4, 5, 6]),), {}),
    ("Size", (np.array([4, 5, 6]),), {}),
]


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), NUMBERS)
def test_host_operators_match_the_reference_implementation(
    op_type: str, inputs: tuple[np.ndarray, ...], attributes: dict[str, int]
) -> None:
    names = [f"x{i}" for i in range(len(inputs))]
    node = helper.make_node(op_type, names, ["y"], **attributes)
    constants = [numpy_helper.from_array(x, name) for name, x in zip(names, inputs, strict=True)]
    graph = helper.make_graph([node], "g", [], [helper.make_empty_tensor_value_info("y")], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    (expected,) = onnx.reference.ReferenceEvaluator(model).run(None, {})
    function = host.find_host_operator("", op_type)
    assert function is not None
    result = host.as_tensor(function(*(host.as_host(torch.from_numpy(x)) for x in inputs), **attributes))
    np.testing.assert_array_equal(result.numpy(), expected)
