"""The comparison of an imported graph with onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import NodeProto, helper

from tests.conftest import SaveModel
from zskd_onnx import ParityError, UnsupportedTeacherError
from zskd_onnx.importer.operators import registry
from zskd_onnx.importer.operators.registry import find_operator
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.parity import difference


@pytest.mark.parametrize(
    ("imported", "reference", "expected"),
    [
        ([0.5, 0.0], [0.5, 0.0], 0.0),
        ([0.5, 0.25], [0.5, 0.0], 0.25),
        ([100.0, 1.0], [100.0, 0.0], 0.01),
        ([1.0, np.nan], [1.0, 0.0], np.inf),
        ([1.0, 0.0], [np.inf, 0.0], np.inf),
        ([1.0], [1.0, 1.0], np.inf),
    ],
)
def test_difference(imported: list[float], reference: list[float], expected: float) -> None:
    assert difference(np.array(imported), np.array(reference)) == pytest.approx(expected)


def test_wrong_operator_behind_saturated_softmax_is_detected(
    save_model: SaveModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong operator may give the same saturated probabilities, so logits are compared too."""
    weights = {"w": torch.eye(3), "b": torch.tensor([0.0, 400.0, 800.0])}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"]),
        helper.make_node("Relu", ["g"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=1),
    ]
    path = save_model(nodes, ["N", 3], ["N", 3], weights)
    right = find_operator("", "Relu", 17)
    assert right is not None
    wrong = registry.Operator(lambda x: 1.01 * F.relu(x), right.host_inputs, right.counts_outputs)
    load_teacher(path)
    monkeypatch.setattr(
        registry, "_TABLE", {key: wrong if value is right else value for key, value in registry._TABLE.items()}
    )
    with pytest.raises(ParityError, match="'z'"):
        load_teacher(path)


SOFTMAX_OVER_SAMPLES = [helper.make_node("Gemm", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["y"], axis=0)]
CENTRED = [
    helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0]),
    helper.make_node("Sub", ["x", "mean"], ["c"]),
    helper.make_node("Gemm", ["c", "w"], ["y"]),
]


@pytest.mark.parametrize("batch", ["N", 2])
@pytest.mark.parametrize("nodes", [SOFTMAX_OVER_SAMPLES, CENTRED], ids=["softmax", "mean"])
def test_answers_that_depend_on_other_samples_are_refused(
    save_model: SaveModel, nodes: list[NodeProto], batch: int | str
) -> None:
    weights = {"w": torch.randn(3, 3, generator=torch.Generator().manual_seed(0))}
    with pytest.raises(UnsupportedTeacherError, match="other samples of its batch"):
        load_teacher(save_model(nodes, [batch, 3], [batch, 3], weights))
