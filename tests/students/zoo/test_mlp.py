"""Fully connected networks of any width."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zskd_onnx import UsageError
from zskd_onnx.students.choose import build, choose


@pytest.mark.parametrize(("name", "equal"), [("mlp", "mlp-64-32"), ("mlp-small", "mlp-32")])
def test_named_ones_have_widths(name: str, equal: str) -> None:
    first, second = (build(choose(n, (1, 8, 8)), (1, 8, 8), 10, 0).state_dict() for n in (name, equal))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_number_for_each_hidden_layer() -> None:
    net = build(choose("mlp-9-5-4", (7,)), (7,), 3, 0)
    assert [layer.out_features for layer in net.modules() if isinstance(layer, nn.Linear)] == [9, 5, 4, 3]


@pytest.mark.parametrize("name", ["mlp-0", "mlp-8-0", "mlp-5000", "mlp-", "mlp-large", "mlp-8-8-8-8-8", "mlp-8x"])
def test_other_names_are_errors(name: str) -> None:
    with pytest.raises(UsageError, match=r"expected mlp, mlp-small or mlp-W with W = 1 to 4096"):
        choose(name, (7,))
