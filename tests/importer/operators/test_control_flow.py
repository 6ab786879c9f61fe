"""If and Loop: inlined if their conditions are constant, refused by name otherwise."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.importer.operators.single_node import imported
from zskd_onnx.errors import UnsupportedTeacherError


def info(name: str, kind: int = TensorProto.FLOAT, shape: tuple[int, ...] | None = (3,)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def branch(op_type: str) -> onnx.GraphProto:
    """A branch that reads x from the outer graph."""
    return helper.make_graph([helper.make_node(op_type, ["x"], ["out"])], op_type, [], [info("out")])


def with_condition(condition: onnx.NodeProto, *initialisers: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("If", ["go"], ["y"], name="choice", then_branch=branch("Neg"), else_branch=branch("Exp"))
    graph = helper.make_graph([condition, node], "g", [info("x")], [info("y")], list(initialisers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize(("left", "expected"), [(1, torch.neg), (2, torch.exp)])
def test_if_with_constant_condition_is_inlined(left: int, expected: object) -> None:
    condition = helper.make_node("Equal", ["a", "b"], ["go"])
    numbers = (numpy_helper.from_array(np.array(v), n) for v, n in ((left, "a"), (1, "b")))
    x = torch.tensor([0.5, -1.0, 2.0])
    (y,) = imported(with_condition(condition, *numbers))(x)
    torch.testing.assert_close(y, expected(x))  # type: ignore[operator]


def test_if_that_depends_on_data_is_refused() -> None:
    condition = helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0)
    model = with_condition(condition)
    model.graph.node.insert(1, helper.make_node("Cast", ["top"], ["go"], to=TensorProto.BOOL))
    with pytest.raises(UnsupportedTeacherError, match=r"'choice' \(If\): its condition must be constant"):
        imported(model)


def loop(*, stop: bool, trips: int | None) -> onnx.ModelProto:
    """Doubles x and adds the iteration number; returns the last state and all states.

    With ``stop``, the body computes its condition from the data.
    """
    nodes = [
        helper.make_node("Add", ["state", "state"], ["twice"]),
        helper.make_node("Cast", ["i"], ["step"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["twice", "step"], ["next"]),
        helper.make_node("Identity", ["next"], ["row"]),
    ]
    if stop:
        nodes += [helper.make_node("ReduceMax", ["next"], ["top"], keepdims=0)]
        nodes += [helper.make_node("Cast", ["top"], ["go_on"], to=TensorProto.BOOL)]
    else:
        nodes += [helper.make_node("Identity", ["go"], ["go_on"])]
    body = helper.make_graph(
        nodes,
        "body",
        [info("i", TensorProto.INT64, ()), info("go", TensorProto.BOOL, ()), info("state")],
        [info("go_on", TensorProto.BOOL, ()), info("next"), info("row")],
    )
    node = helper.make_node("Loop", ["" if trips is None else "trips", "start", "x"], ["y", "all"], "steps", body=body)
    constants = [numpy_helper.from_array(np.array(True), "start")]
    if trips is not None:
        constants += [numpy_helper.from_array(np.array(trips), "trips")]
    graph = helper.make_graph([node], "g", [info("x")], [info("y"), info("all", shape=None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_loop_is_unrolled() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y, states = imported(loop(stop=False, trips=3))(x)
    torch.testing.assert_close(y, 8 * x + 4)
    torch.testing.assert_close(states, torch.stack([2 * x, 4 * x + 1, 8 * x + 4]))
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((3,), 8.0))


@pytest.mark.parametrize(("stop", "trips"), [(True, 3), (False, None)])
def test_loop_with_unknown_trip_count_is_refused(stop: bool, trips: int | None) -> None:
    with pytest.raises(UnsupportedTeacherError, match=r"'steps' \(Loop\): its trip count"):
        imported(loop(stop=stop, trips=trips))


def test_loop_with_too_many_iterations_is_refused() -> None:
    with pytest.raises(UnsupportedTeacherError, match="at most 1024"):
        imported(loop(stop=False, trips=10**9))
