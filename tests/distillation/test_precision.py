"""Training in bfloat16: when it is chosen, and that it changes little."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor

from zskd_onnx import compress
from zskd_onnx.distillation import precision
from zskd_onnx.distillation.precision import choose_precision, computing_in
from zskd_onnx.teacher.probes.outputs import Outputs, TeacherView
from zskd_onnx.teacher.teacher import Teacher


@pytest.fixture
def digits_view(digits: Teacher) -> TeacherView:
    return TeacherView(digits)


@pytest.fixture
def samples(digits_view: TeacherView) -> Tensor:
    return torch.rand((64, *digits_view.teacher.domain.shape), generator=torch.Generator().manual_seed(0))


def test_a_setting_decides(digits_view: TeacherView, samples: Tensor) -> None:
    assert choose_precision("bfloat16", digits_view, samples) == torch.bfloat16
    assert choose_precision("float32", digits_view, samples) == torch.float32


def test_auto_keeps_float32_for_small_teachers_and_plain_processors(
    digits_view: TeacherView, samples: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_precision("auto", digits_view, samples) == torch.float32
    monkeypatch.setattr(precision, "COSTLY", 0)
    monkeypatch.setattr(precision, "_has_bfloat16", lambda device: False)
    assert choose_precision("auto", digits_view, samples) == torch.float32


def test_auto_asks_the_teacher(digits_view: TeacherView, samples: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 has eight significant bits, so the divergence is small and not zero; a graph that it breaks keeps float32."""
    monkeypatch.setattr(precision, "COSTLY", 0)
    monkeypatch.setattr(precision, "_has_bfloat16", lambda device: True)
    assert 0 < precision._divergence(digits_view, samples) < 1e-3
    assert choose_precision("auto", digits_view, samples) == torch.bfloat16

    class Strict(TeacherView):
        def __call__(self, x: Tensor) -> Outputs:
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("expected m1 and m2 to have the same dtype")
            return super().__call__(x)

    assert choose_precision("auto", Strict(digits_view.teacher), samples) == torch.float32


def test_convolutions_are_computed_in_the_number_type(digits_view: TeacherView, samples: Tensor) -> None:
    weight = torch.rand((4, 1, 3, 3))
    with computing_in(torch.bfloat16, torch.device("cpu")):
        assert torch.conv2d(samples, weight).dtype == torch.bfloat16
    with computing_in(torch.float32, torch.device("cpu")):
        assert torch.conv2d(samples, weight).dtype == torch.float32


def test_a_student_trained_in_bfloat16_is_as_good(tmp_path: Path, digits: Teacher, digits_data: Path) -> None:
    """Its file holds float32, and its accuracy on real digits is that of float32 within two points."""
    accuracies = []
    for setting in ("float32", "bfloat16"):
        result = compress(
            digits.source.path,
            tmp_path / setting,
            recipe="procedural",
            overrides={"distillation": {"precision": setting, "epochs": 2, "epoch_samples": 10_240}},
            eval_data=digits_data,
        )
        assert {i.data_type for i in onnx.load(result.student).graph.initializer} <= {
            TensorProto.FLOAT,
            TensorProto.INT64,
        }
        assert result.accuracy is not None
        accuracies.append(cast(float, result.accuracy.student))
    assert accuracies[0] > 0.9
    assert abs(accuracies[0] - accuracies[1]) < 0.02
