"""Automatic choice of the student: smaller than the teacher in parameters and multiply-adds, and of its kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from onnx import helper
from torch import nn

from tests.conftest import Exports, SaveModel, export
from zskd_onnx import UnsupportedTeacherError, UsageError, inspect, load_teacher
from zskd_onnx.students.automatic import choose_automatically, choose_from_zoo, find_smaller, teacher_size
from zskd_onnx.students.choose import build
from zskd_onnx.students.describe import measure
from zskd_onnx.teacher.teacher import Teacher


def exported(module: nn.Module, shape: tuple[int, ...], folder: Path) -> Teacher:
    export(module.eval(), shape, folder / "net.onnx", "17", fixed=False)
    return load_teacher(folder / "net.onnx", input_range=(0, 1))


def picked(teacher: Teacher) -> str:
    """The name of the choice from the zoo, which is built and compared with the teacher."""
    choice = choose_from_zoo(teacher, UnsupportedTeacherError(f"{teacher.source.path}: of a reason; do something"))
    size = measure(build(choice, teacher.domain.shape, teacher.classes, 0), teacher.domain.shape)
    assert size.parameters < teacher.parameters_count
    assert size.multiply_adds < teacher.cost.multiply_adds
    assert choice.why.startswith("picked for ")
    assert choice.why.endswith("the teacher's own graph is not thinned, because of a reason")
    return choice.name


def test_the_default_is_the_teachers_graph_with_half_of_its_channels(digits: Teacher) -> None:
    choice = choose_automatically(digits)
    assert choice.name == "thin:0.5"
    size = measure(build(choice, digits.domain.shape, digits.classes, 0), digits.domain.shape)
    assert size.is_below(teacher_size(digits))
    named = inspect(digits.source.path).choice
    assert named is not None
    assert (named.name, named.why) == (choice.name, choice.why)


def test_a_graph_without_channels_to_remove_gets_a_student_of_the_zoo(save_model: SaveModel) -> None:
    path = save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 64], ["N", 20], {"w": torch.randn(64, 20)})
    choice = choose_automatically(load_teacher(path, input_range=(0, 1)))
    assert choice.name == "mlp-8"
    assert choice.why.endswith("is not thinned, because the graph has no channels that could be removed")


def test_a_graph_of_single_channels_without_a_smaller_student(save_model: SaveModel) -> None:
    nodes = [
        *(helper.make_node("Gemm", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["b"])),
        helper.make_node("Gemm", ["b", "v"], ["y"]),
    ]
    weights = {"w": torch.randn(900, 1), "v": torch.randn(1, 10)}
    path = save_model(nodes, ["N", 900], ["N", 10], weights)
    teacher = load_teacher(path, input_range=(0, 1))
    with pytest.raises(UsageError, match="no student that auto picks is smaller than the teacher"):
        choose_automatically(teacher)
    assert inspect(path, input_range=(0, 1)).choice is None


def test_a_graph_that_would_keep_most_of_its_weights_gets_a_student_of_the_zoo(save_model: SaveModel) -> None:
    """A softmax inside holds the channels of the larger layer."""
    nodes = [
        *(helper.make_node("Gemm", ["x", "w"], ["a"]), helper.make_node("Softmax", ["a"], ["b"])),
        *(helper.make_node("Gemm", ["b", "v"], ["c"]), helper.make_node("Relu", ["c"], ["d"])),
        helper.make_node("Gemm", ["d", "u"], ["y"]),
    ]
    weights = {"w": torch.randn(64, 200), "v": torch.randn(200, 8), "u": torch.randn(8, 10)}
    choice = choose_automatically(load_teacher(save_model(nodes, ["N", 64], ["N", 10], weights), input_range=(0, 1)))
    assert choice.name == "mlp"
    assert re.search(r"is not thinned, because thin:0.5 would keep 9\d % of its weights$", choice.why)


@pytest.mark.parametrize(("name", "expected"), [("lenet5", "lenet5-half"), ("alexnet", "alexnet-half")])
def test_the_papers_teachers_get_the_papers_students(exports: Exports, name: str, expected: str) -> None:
    assert picked(load_teacher(exports.path(name, "17"))) == expected


def test_the_digits_teacher_gets_cnn(digits: Teacher) -> None:
    assert picked(digits) == "cnn"


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [(600, "mlp"), (40, "mlp-small"), (20, "mlp-16"), (12, "mlp-8"), (6, "mlp-4")],
)
def test_vectors_get_the_largest_mlp_that_is_smaller(tmp_path: Path, hidden: int, expected: str) -> None:
    net = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    assert picked(exported(net, (64,), tmp_path)) == expected


def test_the_last_layer_is_weighed_with_all_classes(tmp_path: Path) -> None:
    """With ten classes cnn has 118,170 parameters on such images, with two 101,778."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 96, 4, 4), nn.ReLU(), nn.Conv2d(96, 140, 2, 2)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(140, 180), nn.ReLU(), nn.Linear(180, 10)),
    )
    teacher = exported(net, (3, 32, 32), tmp_path)
    assert 101_778 < teacher.parameters_count < 118_170
    assert picked(teacher) == "cnn-small"


def test_a_quick_teacher_gets_a_quicker_student(tmp_path: Path) -> None:
    """cnn-small has a third of the teacher's parameters, and seven times its multiply-adds."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 104), nn.ReLU(), nn.Linear(104, 10))
    )
    assert picked(exported(net, (3, 32, 32), tmp_path)) == "cnn-2"


@pytest.mark.parametrize("scaled", [False, True])
def test_a_teacher_that_flattens_images_gets_an_mlp(save_model: SaveModel, scaled: bool) -> None:
    nodes = [
        helper.make_node("Div", ["x", "scale"], ["scaled"])
        if scaled
        else helper.make_node("Identity", ["x"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], ["y"]),
    ]
    rng = torch.Generator().manual_seed(0)
    weights = {
        "w": torch.randn(784, 128, generator=rng) / 28,
        "v": torch.randn(128, 10, generator=rng) / 11,
        **({"scale": torch.tensor(255.0)} if scaled else {}),
    }
    assert picked(load_teacher(save_model(nodes, ["N", 1, 28, 28], ["N", 10], weights))) == "mlp"


def test_a_recurrent_teacher_gets_a_convolutional_student(tmp_path: Path) -> None:
    """Its last layer reads as many values as a sample has, but not the sample."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.LSTM(16, 16, batch_first=True), nn.Linear(128, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.layer(x)[0].flatten(1))

    assert picked(exported(Recurrent(), (8, 16), tmp_path)).startswith("cnn")


def test_a_teacher_without_a_smaller_student(save_model: SaveModel) -> None:
    """Choosing is an error that says what to do; inspecting is not."""
    path = save_model([helper.make_node("MatMul", ["x", "w"], ["y"])], ["N", 4], ["N", 3], {"w": torch.randn(4, 3)})
    teacher = load_teacher(path)
    assert find_smaller(teacher) is None
    assert str(teacher_size(teacher)) == "12 parameters and 12 multiply-adds per sample"
    with pytest.raises(UsageError, match=r"12 parameters and 12 multiply-adds.*mlp-4.*35 parameters.*--student mlp-4"):
        choose_automatically(teacher)
    inspection = inspect(path)
    assert inspection.choice is None
    assert inspection.to_dict()["student"] is None
    assert repr(inspection).endswith("student none)")
