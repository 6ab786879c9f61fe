"""Inference of natural images from a teacher's predictions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from tests.conftest import export
from zskd_onnx import load_teacher, prepare
from zskd_onnx.teacher.probes import natural_images
from zskd_onnx.teacher.probes.natural_images import infer_natural_images, mutual_information
from zskd_onnx.teacher.teacher import Teacher


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class BrightnessClassifier(nn.Module):
    """One of four classes, by the brightness of the first pixel; ``scale`` is that of the logits."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor([0.125, 0.375, 0.625, 0.875]))
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -self.scale * (x[:, 0, 0, :1] - self.levels).abs()


def saved(net: nn.Module, folder: Path, channels: int, side: int = 16) -> Teacher:
    """The network as a teacher of images from 0 to 1, written to net.onnx."""
    export(net.eval(), (channels, side, side), folder / "net.onnx", "17", fixed=False)
    return load_teacher(folder / "net.onnx", input_range=(0, 1))


@pytest.mark.parametrize(("scale", "nats"), [(1e4, math.log(4)), (0.0, 0.0)])
def test_mutual_information_by_hand(tmp_path: Path, scale: float, nats: float) -> None:
    """Of four equally frequent kinds of images: ln 4 for a confident teacher, 0 for equal logits."""
    levels = torch.tensor([0.125, 0.375, 0.625, 0.875])

    def draw(like: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        return levels.repeat(len(like) // 4).view(-1, 1, 1, 1).expand_as(like)

    teacher = saved(BrightnessClassifier(scale), tmp_path, 1)
    assert mutual_information(teacher, draw, 128, rng()) == pytest.approx(nats, abs=1e-3)


def digits_of(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Real digits of 32x32 in random colours, and their classes."""
    digits = load_digits()
    x = F.interpolate(torch.from_numpy(digits.images).float()[:, None] / 16, scale_factor=4, mode="bilinear")
    return x * (0.3 + 0.7 * torch.rand((len(x), channels, 1, 1), generator=rng(1))), torch.from_numpy(digits.target)


def trained(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """A small convolutional network that was trained on images and their classes."""
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
    optimiser, draws = torch.optim.Adam(net.parameters(), 3e-3), rng(2)
    for _ in range(300):
        chosen = torch.randint(len(x), (64,), generator=draws)
        loss = F.cross_entropy(net(x[chosen]), y[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net


@pytest.mark.parametrize("channels", [1, 3])
def test_digits_are_drawings_in_any_colour(tmp_path: Path, channels: int) -> None:
    """The plan has a note that gives the setting for natural images; with that setting there is no note."""
    saved(trained(*digits_of(channels)), tmp_path, channels, 32)
    plan = prepare(tmp_path / "net.onnx", student="cnn-small", input_range=(0, 1))
    assert plan.recipe.procedural is not None
    assert plan.recipe.procedural.natural_images is False
    assert set(plan.recipe.procedural.kinds((channels, 32, 32))) == {"level_lines", "pen_strokes", "objects"}
    assert any(
        "inputs are taken for drawings" in note and "--set procedural.natural_images=true" in note
        for note in plan.notes
    )
    overrides = ["procedural.natural_images=true"]
    plan = prepare(tmp_path / "net.onnx", student="cnn-small", input_range=(0, 1), overrides=overrides)
    assert plan.recipe.procedural is not None
    assert plan.recipe.procedural.natural_images is True
    assert set(plan.recipe.procedural.kinds((channels, 32, 32))) == {"dead_leaves", "scenes"}
    assert not any("are taken for" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("channels", "lines", "leaves", "natural"),
    [
        *((1, 1.3, 0.8, False), (1, 1.0, 1.05, False), (1, 1.0, 1.2, True), (3, 1.05, 1.0, True), (3, 1.2, 1.0, False)),
        *((1, 0.01, 0.04, False), (3, 0.04, 0.01, True), (1, -5e-7, -2e-7, False), (3, -2e-7, -2e-7, True)),
        *((1, math.nan, 1.0, False), (3, 1.0, math.nan, True)),
    ],
)
def test_number_of_channels_decides_where_mutual_information_is_similar_or_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, lines: float, leaves: float, natural: bool
) -> None:
    teacher = saved(BrightnessClassifier(1.0), tmp_path, channels)
    nats = {natural_images.level_lines: lines, natural_images.dead_leaves: leaves}
    monkeypatch.setattr(natural_images, "mutual_information", lambda _, draw, *__: nats[draw])
    assert infer_natural_images(teacher) is natural


def test_a_costly_teacher_is_asked_with_fewer_images_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = saved(BrightnessClassifier(1.0), tmp_path, 3)
    seen = []
    logits = teacher.logits

    def counting(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return logits(x)

    monkeypatch.setattr(teacher, "logits", counting)
    for multiply_adds, images in ((10**6, 256), (5 * 10**8, 100), (10**9, 0)):
        seen.clear()
        monkeypatch.setattr(teacher, "cost", replace(teacher.cost, multiply_adds=multiply_adds))
        assert infer_natural_images(teacher)
        assert sum(seen) == images


def test_small_images_are_not_inferred(digits: Teacher) -> None:
    assert infer_natural_images(digits) is None


@pytest.mark.parametrize("dead_leaves", [0.0, 0.5])
def test_inference_needs_dead_leaves(tmp_path: Path, dead_leaves: float) -> None:
    """Without them natural images get drawings too, so there is nothing to decide."""
    saved(BrightnessClassifier(1.0), tmp_path, 3)
    plan = prepare(
        tmp_path / "net.onnx",
        recipe="zskd-uniform",
        overrides=["procedural={level_lines: 0.25}", f"procedural.dead_leaves={dead_leaves}"],
        student="cnn-small",
        input_range=(0, 1),
    )
    assert plan.recipe.procedural is not None
    assert (plan.recipe.procedural.natural_images is not None) == (dead_leaves > 0)
    assert any("are taken for" in note for note in plan.notes) == (dead_leaves > 0)
