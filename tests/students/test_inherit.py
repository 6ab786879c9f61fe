"""Students that start from the teacher's channels."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from tests.conftest import Exports, SaveModel, export
from zskd_onnx import UsageError, load_teacher
from zskd_onnx.students import STUDENTS, inherit, inherits
from zskd_onnx.teacher import Teacher

Load = Callable[..., Teacher]


def randomised(module: nn.Module) -> nn.Module:
    """With weights and statistics that are no initialisation's, in inference mode."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
        elif getattr(layer, "bias", None) is not None:
            nn.init.normal_(layer.bias, std=0.1)
    return module.eval()


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A torch module as a teacher."""

    def make(module: nn.Module, shape: tuple[int, ...], **options: object) -> Teacher:
        export(module, shape, tmp_path / "teacher.onnx", "17", fixed=False)
        return load_teacher(tmp_path / "teacher.onnx", **options)

    return make


def assert_same(student: nn.Module, teacher: Teacher) -> None:
    """On samples of the unit space."""
    torch.manual_seed(1)
    x = torch.rand(8, *teacher.domain.shape)
    expected = teacher.logits(teacher.domain.to_file(x))
    torch.testing.assert_close(student.eval()(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["lenet5", "alexnet"])
def test_a_student_of_the_teachers_shape_is_the_teacher(name: str, exports: Exports) -> None:
    teacher = load_teacher(exports.path(name, "17"))
    student = STUDENTS[name].build(teacher.domain.shape, 10)
    assert inherits(student, teacher) is None
    inherit(student, teacher)
    assert_same(student, teacher)


@pytest.mark.parametrize(
    ("name", "shape"), [("vgg-small", (3, 16, 16)), ("cnn-small", (2, 20)), ("mlp", (30,)), ("cnn-small", (1, 8, 8))]
)
def test_folded_normalisation_and_other_inputs(name: str, shape: tuple[int, ...], load: Load) -> None:
    teacher = load(randomised(STUDENTS[name].build(shape, 5)), shape, input_range=(0, 1))
    student = STUDENTS[name].build(shape, 5)
    inherit(student, teacher)
    assert_same(student, teacher)


class Scaled(nn.Module):
    """Raw pixels, brought to [-1, 1] inside."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x / 255 - 0.5) / 0.5)


class ChannelsLast(nn.Module):
    """Channels last outside, and where it flattens, as Keras has it."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize(
    "options",
    [{"input_range": (0, 255)}, {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}],
)
def test_the_student_takes_the_unit_space(options: dict[str, object], load: Load) -> None:
    """Whatever the file takes."""
    net = randomised(STUDENTS["lenet5"].build((3, 16, 16), 10))
    teacher, student = load(net, (3, 16, 16), **options), STUDENTS["lenet5"].build((3, 16, 16), 10)
    inherit(student, teacher)
    assert_same(student, teacher)


def test_scaling_inside_the_graph(load: Load) -> None:
    net = randomised(STUDENTS["lenet5"].build((3, 16, 16), 10))
    teacher, student = load(Scaled(net), (3, 16, 16)), STUDENTS["lenet5"].build((3, 16, 16), 10)
    assert set(teacher.domain.high) == {255.0}
    inherit(student, teacher)
    assert_same(student, teacher)


def test_a_file_with_its_channels_last(load: Load) -> None:
    def body() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

    teacher = load(
        randomised(ChannelsLast(body(), nn.Linear(4 * 6 * 8, 10))), (8, 10, 3), layout="NHWC", input_range=(0, 255)
    )
    student = nn.Sequential(*body(), nn.Flatten(), nn.Linear(4 * 6 * 8, 10))
    inherit(student, teacher)
    assert_same(student, teacher)


def strengths(layer: nn.Module, norm: nn.Module | None) -> Tensor:
    strength = layer.weight.flatten(1).norm(dim=1)
    return strength if norm is None else strength * norm.weight.abs() / (norm.running_var + norm.eps).sqrt()


def weakened(net: nn.Sequential, widths: dict[int, int]) -> nn.Sequential:
    """What a narrower student should be, at full width: weak channels silenced, the next weights larger.

    Args:
        widths: position of a layer with weights -> how many channels stay.
    """
    net = copy.deepcopy(net)
    weighted = [i for i, m in enumerate(net) if isinstance(m, (nn.Conv2d, nn.Linear))]
    for position, following in pairwise(weighted):
        layer, norm = net[position], net[position + 1] if isinstance(net[position + 1], nn.BatchNorm2d) else None
        kept = widths[position]
        weak = strengths(layer, norm).argsort()[: len(layer.weight) - kept]
        for silenced in (layer, norm) if norm is not None else (layer,):
            silenced.weight.data[weak] = 0
            if silenced.bias is not None:
                silenced.bias.data[weak] = 0
        if norm is not None:
            norm.running_mean[weak] = 0
        net[following].weight.data *= math.sqrt(len(layer.weight) / kept)
    return net


@pytest.mark.parametrize(("name", "shape"), [("lenet5", (1, 28, 28)), ("vgg-small", (3, 16, 16))])
def test_half_keeps_the_strongest_channels(name: str, shape: tuple[int, ...], load: Load) -> None:
    """Each kept channel in its place: the same logits as the teacher with the others silenced."""
    net = randomised(STUDENTS[name].build(shape, 10))
    student = STUDENTS[f"{name}-half"].build(shape, 10)
    widths = {i: len(m.weight) for i, m in enumerate(student) if isinstance(m, (nn.Conv2d, nn.Linear))}
    expected = weakened(net, widths)
    inherit(student, load(net, shape))
    x = torch.rand(8, *shape)
    torch.testing.assert_close(student.eval()(x), expected(x), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(student(x), net(x), atol=0.01)


def test_a_bias_before_kept_normalisation(save_model: SaveModel) -> None:
    """The student's convolution has none, so the normalisation takes it in, whatever its own epsilon."""
    torch.manual_seed(0)
    weights = {"w": torch.randn(4, 2, 3, 3), "b": torch.randn(4), "gamma": torch.rand(4) + 0.5, "beta": torch.randn(4)}
    weights |= {"mean": torch.randn(4), "variance": torch.rand(4) + 0.5, "final": torch.randn(5, 4)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "gamma", "beta", "mean", "variance"], ["n"], epsilon=0.01),
        helper.make_node("GlobalAveragePool", ["n"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "final"], ["y"], transB=1),
    ]
    teacher = load_teacher(save_model(nodes, ["N", 2, 8, 8], ["N", 5], weights), input_range=(0, 1))
    student = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding="same", bias=False), nn.BatchNorm2d(4)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    )
    inherit(student, teacher)
    assert_same(student, teacher)


@pytest.mark.parametrize("opposite", [False, True])
def test_two_classes_that_share_a_logit(opposite: bool, load: Load) -> None:
    """One sigmoid, or one of the logit beside one of its opposite: the student gives both logits."""
    net = randomised(nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2 if opposite else 1)))
    if opposite:
        net[2].weight.data[0], net[2].bias.data[0] = -net[2].weight[1], -net[2].bias[1]
    teacher = load(nn.Sequential(net, nn.Sigmoid()).eval(), (12,), input_range=(0, 1))
    student = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2))
    inherit(student, teacher)
    assert_same(student, teacher)


class Own(nn.Module):
    """A forward method of one's own that is a chain all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3, padding="same"), nn.Linear(4 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.max_pool2d(self.conv(x).relu(), 2).flatten(1))


def test_a_module_of_ones_own(load: Load) -> None:
    teacher, student = load(randomised(Own()), (1, 8, 8)), Own()
    inherit(student, teacher)
    assert_same(student, teacher)


def plain(*, width: int = 6, kernel: int = 5, bias: bool = True, classes: int = 10) -> nn.Sequential:
    """The beginning of LeNet-5, and its last layer."""
    return nn.Sequential(
        nn.Conv2d(1, width, kernel, bias=bias),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


@pytest.mark.parametrize(
    ("student", "reason"),
    [
        (plain(width=7), "layer '0' gives 7 channels, the teacher's .* 6"),
        (plain(kernel=3), r"layer '0' has kernel \(3, 3\), the teacher's .* \(5, 5\)"),
        (plain(bias=False), "layer '0' has no bias"),
        (plain(classes=9), "layer '4' gives 9 channels"),
        (nn.Sequential(nn.Conv2d(1, 6, 5), nn.Conv2d(6, 6, 3)), r"layer '1' \(convolution\), the teacher has .*linear"),
        (nn.Sequential(nn.Conv2d(1, 6, 5)), "no counterpart in the student"),
        (nn.Sequential(plain(), nn.Linear(10, 10)), r"layer '1' \(linear\), the teacher has nothing more"),
        (nn.Sequential(nn.Conv2d(1, 6, 5), nn.Flatten(), nn.Linear(24, 10)), "layer '2' has 24 inputs, 6 come"),
        (nn.Sequential(nn.Conv2d(1, 6, 5), nn.GroupNorm(2, 6)), "layer '1' is a GroupNorm"),
        (STUDENTS["wrn-16-1"].build((1, 16, 16), 10), "forks or joins at '0'"),
        (nn.LSTM(3, 3), "cannot be followed"),
    ],
)
def test_other_topologies(student: nn.Module, reason: str, load: Load) -> None:
    teacher = load(randomised(plain()), (1, 16, 16))
    before = copy.deepcopy(student.state_dict())
    assert inherits(student, teacher) is not None
    with pytest.raises(UsageError, match=reason) as caught:
        inherit(student, teacher)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_teacher_with_shortcuts(exports: Exports) -> None:
    teacher = load_teacher(exports.path("resnet", "17"))
    with pytest.raises(UsageError, match="the teacher is no plain chain"):
        inherit(STUDENTS["cnn"].build(teacher.domain.shape, 10), teacher)
