"""Comparison of the operations between layers of student and teacher."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.conftest import export
from zskd_onnx import load_teacher, prepare
from zskd_onnx.students.pruning.inherit import interlayer_mismatch, why_not_inheritable


def net(width: int, hidden: int, activation: type[nn.Module], pool: type[nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, width, 3), activation(), pool(2), nn.Dropout(0.5), nn.Flatten()),
        *(nn.Linear(9 * width, hidden), activation(), nn.Linear(hidden, 3)),
    ).eval()


class Functional(nn.Module):
    """The same network with functions for operations without weights, and a fixed size for flattening."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.hidden, self.last = nn.Conv2d(1, width, 3), nn.Linear(9 * width, 4), nn.Linear(4, 3)
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.conv(x).relu(), 2).view(-1, 9 * self.width)
        return self.last(F.dropout(F.relu(self.hidden(x)), 0.5, self.training))


class Normalising(nn.Sequential):
    """A network that normalises its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward((x - 0.1307) / 0.3081)


class Unflattening(nn.Sequential):
    """Operations on dimensions that the teacher's activations do not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self[:5]:
            x = layer(x)
        return self[7](self[6](self[5](x.unflatten(1, (3, 9)).transpose(1, 2).movedim(2, 3).flatten(1))))


class SmallLeak(nn.LeakyReLU):
    """A slope within the tolerance of the comparison."""

    def __init__(self) -> None:
        super().__init__(0.005)


MAX_POOL = nn.MaxPool2d


@pytest.mark.parametrize(
    ("modules", "student", "place"),
    [
        ((nn.ReLU, MAX_POOL), net(3, 4, nn.ReLU, MAX_POOL), None),
        ((nn.Tanh, nn.AvgPool2d), net(3, 4, nn.Tanh, nn.AvgPool2d), None),
        ((nn.ReLU, MAX_POOL), Functional(3), None),
        ((nn.ReLU, MAX_POOL), net(3, 4, SmallLeak, MAX_POOL), None),
        ((nn.ReLU, MAX_POOL), net(3, 4, nn.ReLU, nn.AvgPool2d), "layer '5'"),
        ((nn.Tanh, MAX_POOL), net(3, 4, nn.ReLU, MAX_POOL), "layer '5'"),
        ((nn.SiLU, MAX_POOL), net(3, 4, nn.ReLU, MAX_POOL), "layer '5'"),
        ((nn.ReLU, nn.AvgPool2d), Functional(3), "layer 'hidden'"),
        ((nn.ReLU, MAX_POOL), Normalising(*net(3, 4, nn.ReLU, MAX_POOL)), "on its input before layer '0'"),
        ((nn.ReLU, MAX_POOL), Unflattening(*net(3, 4, nn.ReLU, MAX_POOL)), "layer '5'"),
        (
            (nn.ReLU, MAX_POOL),
            nn.Sequential(*net(3, 4, nn.ReLU, MAX_POOL)[:6], nn.Tanh(), nn.Linear(4, 3)),
            "layer '7'",
        ),
    ],
    ids=[
        "same",
        "same with tanh",
        "functions",
        "small leak",
        "other pooling",
        "other activation",
        "silu",
        "functions with other pooling",
        "normalised input",
        "other rank",
        "other last activation",
    ],
)
def test_a_difference_is_reported_with_its_layer(
    tmp_path: Path, modules: tuple[type[nn.Module], type[nn.Module]], student: nn.Module, place: str | None
) -> None:
    export(net(5, 6, *modules), (1, 8, 8), tmp_path / "net.onnx", "17", fixed=False)
    teacher = load_teacher(tmp_path / "net.onnx", input_range=(-1, 1))
    student.train()
    assert why_not_inheritable(student, teacher) is None
    mismatch = interlayer_mismatch(student, teacher)
    assert (mismatch is None) == (place is None)
    assert place is None or place in str(mismatch)
    assert student.training


@pytest.mark.parametrize("flattened", [False, True])
def test_batch_normalisations(tmp_path: Path, flattened: bool) -> None:
    """The comparison covers both sides of the teacher's, and skips one that only the student has."""
    torch.manual_seed(0)
    norm = [nn.BatchNorm1d(36)] if flattened else []
    teacher_net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), *([] if flattened else [nn.BatchNorm2d(4)]), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(*norm, nn.Linear(36, 6), nn.ReLU(), nn.Linear(6, 3)),
    )
    for layer in teacher_net:
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.weight, -2, 2)
    export(teacher_net.eval(), (1, 8, 8), tmp_path / "net.onnx", "17", fixed=False)
    teacher = load_teacher(tmp_path / "net.onnx", input_range=(0, 1))
    student_norm = [nn.BatchNorm1d(18)] if flattened else []
    for activation, same in ((nn.ReLU, True), (nn.Tanh, False)):
        student = nn.Sequential(
            *(nn.Conv2d(1, 2, 3), *([] if flattened else [nn.BatchNorm2d(2)]), activation(), nn.MaxPool2d(2)),
            *(nn.Flatten(), *student_norm, nn.Linear(18, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)),
        )
        assert why_not_inheritable(student, teacher) is None
        assert (interlayer_mismatch(student, teacher) is None) is same


@pytest.mark.parametrize("teacher_first", [True, False])
def test_flattening_before_or_after_batch_normalisation_is_equivalent(tmp_path: Path, teacher_first: bool) -> None:
    def pooled(width: int, flat_first: bool) -> nn.Sequential:
        torch.manual_seed(0)
        norm = [nn.Flatten(), nn.BatchNorm1d(width)] if flat_first else [nn.BatchNorm2d(width), nn.Flatten()]
        nn.init.uniform_(norm[int(flat_first)].running_mean)
        return nn.Sequential(
            nn.Conv2d(1, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), *norm, nn.Linear(width, 3)
        ).eval()

    export(pooled(5, teacher_first), (1, 8, 8), tmp_path / "net.onnx", "17", fixed=False)
    teacher = load_teacher(tmp_path / "net.onnx", input_range=(0, 1))
    student = pooled(3, not teacher_first)
    assert why_not_inheritable(student, teacher) is None
    assert interlayer_mismatch(student, teacher) is None


def test_auto_initialises_at_random_after_a_mismatch(tmp_path: Path) -> None:
    """``init: inherit`` ignores the mismatch."""
    export(net(8, 16, nn.Tanh, nn.AvgPool2d), (1, 8, 8), tmp_path / "net.onnx", "17", fixed=False)
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "def make(shape, classes):\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),\n"
        "                         nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, classes))\n"
    )
    options = {"student": f"{tmp_path}/own.py:make", "input_range": (0, 1)}
    auto = prepare(tmp_path / "net.onnx", init="auto", **options)
    assert not auto.pruned
    assert any("random initialisation" in note and "activation, pooling" in note for note in auto.notes)
    assert prepare(tmp_path / "net.onnx", init="inherit", **options).pruned
