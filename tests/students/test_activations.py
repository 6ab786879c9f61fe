"""What is kept of a student on the way to its logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.conftest import export
from zskd_onnx.losses import attention_loss
from zskd_onnx.students.activations import Observed
from zskd_onnx.students.zoo.registry import STUDENTS
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.outputs import Asking
from zskd_onnx.teacher.probes.probe import blocks_probe

SHAPE = (3, 32, 32)


@pytest.mark.parametrize("name", [name for name in sorted(STUDENTS) if STUDENTS[name].misfit(SHAPE) is None])
def test_features_are_what_the_final_layer_reads(name: str) -> None:
    student = STUDENTS[name].build(SHAPE, 7).eval()
    observed = Observed(student, SHAPE, features=True)
    x = torch.rand(2, *SHAPE)
    with torch.no_grad():
        answer = observed(x)
        assert torch.equal(answer.logits, student(x))
    final = [module for module in student.modules() if isinstance(module, nn.Linear)][-1]
    assert answer.features is not None
    assert answer.features.shape == (2, observed.features)
    assert torch.allclose(final(answer.features), answer.logits)
    assert not answer.blocks


def test_blocks_have_the_sizes_that_are_wanted() -> None:
    student = STUDENTS["lenet5"].build((1, 32, 32), 10)
    observed = Observed(student, (1, 32, 32), sizes=[(14, 14), (9, 9), (5, 5)])
    answer = observed(torch.rand(2, 1, 32, 32))
    assert observed.sizes == ((14, 14), (5, 5))
    assert [tuple(block.shape) for block in answer.blocks] == [(2, 6, 14, 14), (2, 16, 5, 5)]
    assert answer.features is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in student.modules())
    assert student.training


class Functional(nn.Module):
    """A net whose activation and pooling are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 12, 5)
        self.final = nn.Linear(300, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        return self.final(F.max_pool2d(torch.tanh(self.second(x)), 2).flatten(1))


@pytest.mark.parametrize("name", ["functional", "lenet5", "alexnet-half", "vgg-small", "resnet18", "wrn-16-1", "cnn"])
def test_a_student_looks_where_a_teacher_of_its_own_weights_does(name: str, tmp_path: Path) -> None:
    """The blocks of both sides are the same maps, so attention transfer between them is nothing."""
    torch.manual_seed(0)
    student = Functional() if name == "functional" else STUDENTS[name].build(SHAPE, 10)
    path = tmp_path / "teacher.onnx"
    export(student.eval(), SHAPE, path, "dynamo", fixed=False)
    teacher = load_teacher(path, input_range=(0, 1))
    probe = blocks_probe(teacher)
    observed = Observed(student, SHAPE, sizes=probe.sizes)
    x = torch.rand(4, *SHAPE)
    with torch.no_grad():
        ours, theirs = observed(x).blocks, Asking(teacher, probe, observed.sizes)(x).blocks
    assert observed.sizes == probe.sizes
    assert float(attention_loss(ours, theirs)) < 1e-10


class Careless(nn.Module):
    """Values beside the activations that are no maps of what the weights make: inputs, statistics, masks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.final = nn.Conv2d(3, 10, 3, stride=2, padding=1), nn.Linear(10, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer((x - 0.5) / 0.25)
        self.mean = y.detach().abs().mean()
        positive = y > 0
        return self.final((y * positive).mean((2, 3)))


def test_blocks_are_maps_that_weights_make() -> None:
    student = Careless()
    observed = Observed(student, (3, 8, 8), sizes=[(8, 8), (4, 4)])
    assert observed.sizes == ((4, 4),)
    x = torch.rand(2, 3, 8, 8)
    [block] = observed(x).blocks
    y = student.layer((x - 0.5) / 0.25)
    torch.testing.assert_close(block, F.relu(y))
    assert block.requires_grad


class OfPositions(nn.Module):
    """A fully connected layer at each position, and the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.movedim(1, -1)).mean((1, 2))


@pytest.mark.parametrize(
    "student",
    [
        nn.Sequential(nn.Conv2d(3, 10, 8), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.GLU()),
        OfPositions(),
    ],
    ids=["none", "not the final", "of positions"],
)
def test_students_without_a_final_layer_have_no_features(student: nn.Module) -> None:
    observed = Observed(student, (3, 8, 8), features=True)
    assert observed.features is None
    assert observed(torch.rand(2, 3, 8, 8)).features is None
