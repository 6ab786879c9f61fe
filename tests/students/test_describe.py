"""Sizes and costs of the students."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from tests.conftest import export
from zskd_onnx import load_teacher
from zskd_onnx.students.describe import Size, describe, measure, parameters
from zskd_onnx.students.zoo.architecture import STUDENTS

LENET = {
    "convolution 1": 6 * 25 * 24 * 24,
    "convolution 2": 16 * 6 * 25 * 8 * 8,
    "fully connected": 256 * 120 + 120 * 84 + 84 * 10,
}
"""Multiply-adds at 28x28: filters x inputs x kernel x positions."""


def test_every_student_is_described() -> None:
    descriptions = {entry.name: entry for entry in describe((1, 28, 28), 10)}
    assert set(descriptions) == set(STUDENTS)
    assert descriptions["lenet5"].multiply_adds == sum(LENET.values())
    for name in ("lenet5", "cnn", "wrn-16-1"):
        assert descriptions[name].parameters == parameters(STUDENTS[name].build((1, 28, 28), 10))


def test_multiply_adds_are_counted_as_for_a_teacher(tmp_path: Path) -> None:
    net = STUDENTS["vgg-small"].build((3, 16, 16), 10).eval()
    export(net, (3, 16, 16), tmp_path / "vgg.onnx", "17", fixed=False)
    teacher = load_teacher(tmp_path / "vgg.onnx")
    description = next(entry for entry in describe((3, 16, 16), 10) if entry.name == "vgg-small")
    assert description.multiply_adds == teacher.cost.multiply_adds


def test_the_largest_comes_first_and_unsupported_ones_last() -> None:
    entries = describe((1, 12, 12), 10)
    supported = [entry for entry in entries if entry.unsupported_reason is None]
    assert entries[: len(supported)] == supported
    sizes = [entry.parameters or 0 for entry in supported]
    assert sizes == sorted(sizes, reverse=True)
    for entry in entries[len(supported) :]:
        assert entry.parameters is None
        assert entry.unsupported_reason is not None
        assert entry.unsupported_reason.startswith("it needs images of at least ")
    assert {entry.name for entry in entries if entry.unsupported_reason} >= {"lenet5", "resnet18"}


def test_describe_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    describe((3, 32, 32), 10)
    assert torch.equal(before, torch.get_rng_state())


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(13, 8, batch_first=True), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0][:, -1])


def test_fused_recurrent_layers_are_counted() -> None:
    """Four gates for 40 positions, and the final layer."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measure(Recurrent(), (40, 13)).multiply_adds == 40 * 4 * 8 * (13 + 8) + 8 * 5


def test_a_size_is_compared_in_both_figures() -> None:
    size = Size(10, 10)
    assert Size(9, 9).is_below(size)
    assert not Size(9, 10).is_below(size)
    assert not Size(10, 9).is_below(size)
    assert Size(10, 10).is_within(size)
    assert not Size(9, 11).is_within(size)
    assert not Size(11, 9).is_within(size)
