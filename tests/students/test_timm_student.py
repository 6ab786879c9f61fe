"""Students of the timm package, and what is said where it is missing."""

from __future__ import annotations

import sys

import pytest
import torch

from zskd_onnx import MissingExtraError, UsageError
from zskd_onnx.students.choose import build, choose

SHAPE = (3, 64, 64)


def test_without_timm_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"student 'timm:resnet18' needs timm .*'zskd-onnx\[timm\]'"):
        choose("timm:resnet18", SHAPE)


@pytest.mark.parametrize("name", ["timm:mobilenetv3_small_050", "timm:vit_tiny_patch16_224"])
def test_an_architecture_takes_the_teachers_samples(name: str) -> None:
    """A convolutional network, and a transformer that is built for one size of image."""
    pytest.importorskip("timm", exc_type=(ImportError, RuntimeError))
    module = build(choose(name, SHAPE), SHAPE, 7, seed=0)
    assert module(torch.rand(2, *SHAPE)).shape == (2, 7)
    again = build(choose(name, SHAPE), SHAPE, 7, seed=0)
    for a, b in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_name_that_timm_lacks_gets_the_nearest() -> None:
    pytest.importorskip("timm", exc_type=(ImportError, RuntimeError))
    with pytest.raises(UsageError, match=r"no architecture of this name; did you mean 'resnet18'\?"):
        choose("timm:resnt18", SHAPE)
    with pytest.raises(UsageError, match="no architecture of this name"):
        choose("timm:hf-hub:timm/resnet18.a1_in1k", SHAPE)


def test_timm_takes_images_alone() -> None:
    pytest.importorskip("timm", exc_type=(ImportError, RuntimeError))
    with pytest.raises(UsageError, match="take images, and a sample has the shape"):
        build(choose("timm:resnet18", (9,)), (9,), 2, seed=0)
