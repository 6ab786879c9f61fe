"""Recording of activation maps and features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.conftest import export
from zskd_onnx.losses import attention_loss
from zskd_onnx.students.activations import ActivationRecorder
from zskd_onnx.students.zoo.architecture import STUDENTS
from zskd_onnx.teacher.load import load_teacher
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.teacher.probes.probe import activation_maps_probe

SHAPE = (3, 32, 32)


@pytest.mark.parametrize(
    "name", [name for name in sorted(STUDENTS) if STUDENTS[name].unsupported_reason(SHAPE) is None]
)
def test_features_are_the_input_of_the_final_layer(name: str) -> None:
    student = STUDENTS[name].build(SHAPE, 7).eval()
    recorder = ActivationRecorder(student, SHAPE, features=True)
    x = torch.rand(2, *SHAPE)
    with torch.no_grad():
        outputs = recorder(x)
        assert torch.equal(outputs.logits, student(x))
    final = [module for module in student.modules() if isinstance(module, nn.Linear)][-1]
    assert outputs.features is not None
    assert outputs.features.shape == (2, recorder.features)
    assert torch.allclose(final(outputs.features), outputs.logits)
    assert not outputs.maps


def test_maps_have_the_requested_sizes() -> None:
    student = STUDENTS["lenet5"].build((1, 32, 32), 10)
    recorder = ActivationRecorder(student, (1, 32, 32), sizes=[(14, 14), (9, 9), (5, 5)])
    outputs = recorder(torch.rand(2, 1, 32, 32))
    assert recorder.sizes == ((14, 14), (5, 5))
    assert [tuple(values.shape) for values in outputs.maps] == [(2, 6, 14, 14), (2, 16, 5, 5)]
    assert outputs.features is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in student.modules())
    assert student.training


class Functional(nn.Module):
    """A network that calls activation and pooling as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 12, 5)
        self.final = nn.Linear(300, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        return self.final(F.max_pool2d(torch.tanh(self.second(x)), 2).flatten(1))


@pytest.mark.parametrize(
    ("name", "exporter"),
    [
        *(("functional", "dynamo"), ("lenet5", "17"), ("alexnet-half", "17"), ("vgg-small", "17")),
        *(("resnet18", "17"), ("wrn-16-1", "dynamo"), ("cnn", "17")),
    ],
)
def test_student_and_teacher_with_the_same_weights_have_the_same_maps(name: str, exporter: str, tmp_path: Path) -> None:
    """The attention loss between a student and its own export is zero."""
    torch.manual_seed(0)
    student = Functional() if name == "functional" else STUDENTS[name].build(SHAPE, 10)
    path = tmp_path / "teacher.onnx"
    export(student.eval(), SHAPE, path, exporter, fixed=False)
    teacher = load_teacher(path, input_range=(0, 1))
    probe = activation_maps_probe(teacher)
    recorder = ActivationRecorder(student, SHAPE, sizes=probe.sizes)
    x = torch.rand(4, *SHAPE)
    with torch.no_grad():
        student_maps, teacher_maps = recorder(x).maps, TeacherView(teacher, probe, recorder.sizes)(x).maps
    assert recorder.sizes == probe.sizes
    assert float(attention_loss(student_maps, teacher_maps)) < 1e-10


class OtherTensors(nn.Module):
    """A network with tensors of the same sizes that do not depend on weights: inputs, statistics, masks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.final = nn.Conv2d(3, 10, 3, stride=2, padding=1), nn.Linear(10, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer((x - 0.5) / 0.25)
        self.mean = y.detach().abs().mean()
        positive = y > 0
        return self.final((y * positive).mean((2, 3)))


def test_maps_depend_on_weights() -> None:
    student = OtherTensors()
    recorder = ActivationRecorder(student, (3, 8, 8), sizes=[(8, 8), (4, 4)])
    assert recorder.sizes == ((4, 4),)
    x = torch.rand(2, 3, 8, 8)
    [values] = recorder(x).maps
    y = student.layer((x - 0.5) / 0.25)
    torch.testing.assert_close(values, F.relu(y))
    assert values.requires_grad


class LinearPerPosition(nn.Module):
    """A fully connected layer at each position, and the mean over positions."""

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
        LinearPerPosition(),
    ],
    ids=["no linear layer", "linear layer before a GLU", "linear layer per position"],
)
def test_students_without_a_final_linear_layer_have_no_features(student: nn.Module) -> None:
    recorder = ActivationRecorder(student, (3, 8, 8), features=True)
    assert recorder.features is None
    assert recorder(torch.rand(2, 3, 8, 8)).features is None
