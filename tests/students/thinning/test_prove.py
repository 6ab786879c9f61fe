"""The proof of a thinned graph."""

from __future__ import annotations

import onnx
import pytest
from onnx import numpy_helper

from tests.students.thinning.graphs import every_second, feeds, graph_of, groups_of
from zskd_onnx import UnsupportedTeacherError
from zskd_onnx.students.thinning.groups import ChannelGroups
from zskd_onnx.students.thinning.prove import prove
from zskd_onnx.students.thinning.remove import remove

TEXT = (
    "a = Conv (x, w0, b0) b = Relu (a) c = Conv (b, w1) p = GlobalAveragePool (c) f = Flatten (p) y = Gemm (f, wy, by)"
)
WEIGHTS = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (6, 8, 3, 3), "wy": (6, 4), "by": (4,)}


@pytest.fixture
def model() -> onnx.ModelProto:
    return graph_of(TEXT, WEIGHTS)


def check(groups: ChannelGroups, removed: set[int], thinned: onnx.ModelProto) -> float:
    return prove(groups, removed, thinned, [feeds(thinned, count) for count in (1, 2, 3)])


def test_a_file_with_a_wrong_weight_is_refused_and_its_groups_are_named(model: onnx.ModelProto) -> None:
    groups = groups_of(model)
    removed = every_second(groups)
    thinned = remove(groups, removed)
    assert check(groups, removed, thinned) < 1e-5

    bias = next(tensor for tensor in thinned.graph.initializer if tensor.name == "b0")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.1, "b0"))

    with pytest.raises(UnsupportedTeacherError, match=r"groups a, c: .* outputs differ by"):
        check(groups, removed, thinned)


def test_a_file_that_does_not_run_is_refused(model: onnx.ModelProto) -> None:
    groups = groups_of(model)
    removed = every_second(groups)

    thinned = remove(groups, removed)
    weight = next(tensor for tensor in thinned.graph.initializer if tensor.name == "w1")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[:, 1:].copy(), "w1"))

    with pytest.raises(UnsupportedTeacherError, match="cannot be thinned in the groups a, c"):
        check(groups, removed, thinned)
