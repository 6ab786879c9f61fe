"""What a teacher says of the images that it was trained on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from tests.conftest import export
from tests.distillation.test_augmentation import generator
from zskd_onnx import load_teacher, prepare
from zskd_onnx.procedural import natural_images as photographs_module
from zskd_onnx.procedural.natural_images import infer_natural_images, told
from zskd_onnx.teacher.teacher import Teacher


class Bins(nn.Module):
    """Names one of four classes, by a pixel's brightness, and is as sure as it is told to be."""

    def __init__(self, sureness: float) -> None:
        super().__init__()
        self.register_buffer("middles", torch.tensor([0.125, 0.375, 0.625, 0.875]))
        self.sureness = sureness

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -self.sureness * (x[:, 0, 0, :1] - self.middles).abs()


def saved(net: nn.Module, folder: Path, channels: int, side: int = 16) -> Teacher:
    export(net.eval(), (channels, side, side), folder / "net.onnx", "17", fixed=False)
    return load_teacher(folder / "net.onnx", input_range=(0, 1))


@pytest.mark.parametrize(("sureness", "nats"), [(1e4, math.log(4)), (0.0, 0.0)])
def test_told_by_hand(tmp_path: Path, sureness: float, nats: float) -> None:
    """Four kinds of images, as many of each: a sure teacher tells ln 4 of them, one that knows nothing 0."""
    kinds = torch.tensor([0.125, 0.375, 0.625, 0.875])

    def make(like: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        return kinds.repeat(len(like) // 4).view(-1, 1, 1, 1).expand_as(like)

    teacher = saved(Bins(sureness), tmp_path, 1)
    assert told(teacher, make, generator()) == pytest.approx(nats, abs=1e-3)


def digits_of(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Real digits of 32x32, each in a colour of its own, and their classes."""
    digits = load_digits()
    x = F.interpolate(torch.from_numpy(digits.images).float()[:, None] / 16, scale_factor=4, mode="bilinear")
    return x * (0.3 + 0.7 * torch.rand((len(x), channels, 1, 1), generator=generator(1))), torch.from_numpy(
        digits.target
    )


def trained(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(
            nn.Conv2d(x.shape[1], 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
        ),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 64, int(y.max()) + 1)),
    )
    optimiser, random = torch.optim.Adam(net.parameters(), 3e-3), generator(2)
    for _ in range(300):
        chosen = torch.randint(len(x), (64,), generator=random)
        loss = F.cross_entropy(net(x[chosen]), y[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net


@pytest.mark.parametrize("channels", [1, 3])
def test_digits_are_drawings_in_any_colour(tmp_path: Path, channels: int) -> None:
    saved(trained(*digits_of(channels)), tmp_path, channels, 32)
    plan = prepare(tmp_path / "net.onnx", student="cnn-small", input_range=(0, 1))
    assert plan.recipe.distillation.augmentation.photographs is False
    assert any("distillation: images are taken for drawings" in note for note in plan.notes)
    told_otherwise = ["distillation.augmentation.photographs=true"]
    other = prepare(tmp_path / "net.onnx", student="cnn-small", input_range=(0, 1), overrides=told_otherwise)
    assert other.recipe.distillation.augmentation.photographs is True
    assert not any("taken for" in note for note in other.notes)


@pytest.mark.parametrize(
    ("channels", "lines", "leaves", "photographs"),
    [
        *((1, 1.3, 0.8, False), (1, 1.0, 1.05, False), (1, 1.0, 1.2, True), (3, 1.05, 1.0, True), (3, 1.2, 1.0, False)),
        *((1, 0.01, 0.04, False), (3, 0.04, 0.01, True), (1, -5e-7, -2e-7, False), (3, -2e-7, -2e-7, True)),
        *((1, math.nan, 1.0, False), (3, 1.0, math.nan, True)),
    ],
)
def test_channels_decide_where_the_teacher_says_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, lines: float, leaves: float, photographs: bool
) -> None:
    teacher = saved(Bins(1.0), tmp_path, channels)
    nats = {photographs_module.level_lines: lines, photographs_module.dead_leaves: leaves}
    monkeypatch.setattr(photographs_module, "told", lambda _, make, __: nats[make])
    assert infer_natural_images(teacher) is photographs


def test_small_images_and_others_are_not_asked_about(digits: Teacher) -> None:
    assert infer_natural_images(digits) is None


def test_what_one_stage_says_holds_for_the_other(tmp_path: Path) -> None:
    saved(Bins(1.0), tmp_path, 3)
    stages = ("distillation.augmentation.leaves=0.5", "fine_tuning={augmentation: {photographs: false}}")
    options = {"recipe": "zskd-uniform", "student": "cnn-small", "input_range": (0, 1)}
    plan = prepare(tmp_path / "net.onnx", overrides=stages, **options)
    assert plan.recipe.distillation.augmentation.photographs is False
    [note] = [note for note in plan.notes if "taken for" in note]
    assert note.startswith("distillation: images are taken for drawings")
