"""Convolutional networks of any width."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zskd_onnx import UsageError
from zskd_onnx.students.choose import build, choose

SHAPE = (3, 16, 16)


def weights(name: str) -> dict[str, torch.Tensor]:
    return build(choose(name, SHAPE), SHAPE, 10, 0).state_dict()


@pytest.mark.parametrize(("name", "equal"), [("cnn", "cnn-16"), ("cnn-small", "cnn-8")])
def test_named_ones_have_widths(name: str, equal: str) -> None:
    first, second = weights(name), weights(equal)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_width_is_the_number_of_filters_of_the_first_layer() -> None:
    net = build(choose("cnn-3", SHAPE), SHAPE, 10, 0)
    assert [layer.out_channels for layer in net.modules() if isinstance(layer, nn.Conv2d)] == [3, 6, 12]
    assert net(torch.rand(2, *SHAPE)).shape == (2, 10)


@pytest.mark.parametrize("name", ["cnn-0", "cnn-257", "cnn-", "cnn-smal", "cnn-4-2", "cnn-99999"])
def test_other_names_are_errors(name: str) -> None:
    with pytest.raises(UsageError, match=r"expected cnn, cnn-small or cnn-W with W = 1 to 256"):
        choose(name, SHAPE)


def test_vectors_are_refused() -> None:
    with pytest.raises(UsageError, match="needs sequences, images or volumes"):
        choose("cnn-4", (7,))
