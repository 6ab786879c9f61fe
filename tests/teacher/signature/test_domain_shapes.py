"""Sequences and volumes as inputs: the layout is inferred, and ``compress`` runs from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import SMALL, export
from zskd_onnx import compress, load_teacher
from zskd_onnx.system.onnx_runtime import open_session, run

SAMPLES = {"sequence": (3, 32), "volume": (2, 8, 12, 10)}


class ChannelsLast(nn.Module):
    """A network with a channels-last input, as Keras writes it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.permute(0, x.ndim - 1, *range(1, x.ndim - 1)))


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "sequence":
        layers: list[nn.Module] = [nn.Conv1d(3, 6, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(90, 4)]
    else:
        layers = [nn.Conv3d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)]
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", SAMPLES)
def test_from_file_to_student(tmp_path: Path, kind: str, channels_last: bool) -> None:
    shape, module = SAMPLES[kind], network(kind)
    path = tmp_path / "teacher.onnx"
    if channels_last:
        export(ChannelsLast(module), (*shape[1:], shape[0]), path, "17", fixed=False)
    else:
        export(module, shape, path, "17", fixed=False)
    teacher = load_teacher(path)
    layouts = {"sequence": ("NCL", "NLC"), "volume": ("NCDHW", "NDHWC")}
    assert (teacher.domain.layout, teacher.domain.shape) == (layouts[kind][channels_last], shape)
    unit = torch.rand(3, *shape)
    torch.testing.assert_close(teacher.domain.to_unit(teacher.domain.to_file(unit)), unit)
    low, high = teacher.domain.low[0], teacher.domain.high[0]
    torch.testing.assert_close(teacher.logits(teacher.domain.to_file(unit)), module(low + (high - low) * unit))

    result = compress(path, tmp_path / "out", overrides=SMALL, student="cnn-small", allow_degenerate=True)
    x = np.random.default_rng(0).random(teacher.domain.file_shape(5)).astype(np.float32)
    (logits,) = run(open_session(result.student), x)
    assert logits.shape == (5, teacher.classes)


def test_layout_of_a_recurrent_teacher(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 8, batch_first=True)
            self.final = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.final(self.lstm(x)[0][:, -1])

    torch.manual_seed(0)
    module = Recurrent().eval()
    path = tmp_path / "teacher.onnx"
    export(module, (20, 3), path, "17", fixed=False)
    teacher = load_teacher(path)
    assert (teacher.domain.layout, teacher.domain.shape) == ("NLC", (3, 20))
    assert teacher.head is not None
    torch.testing.assert_close(teacher.head.weight, module.final.weight.detach())
    assert load_teacher(path, layout="NCL").domain.shape == (20, 3)
