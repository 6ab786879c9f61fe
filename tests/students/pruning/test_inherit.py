"""Pruned initialisation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from tests.conftest import Exports, SaveModel, export
from zskd_onnx import UsageError, load_teacher
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.students.pruning.inherit import inherit, why_not_inheritable
from zskd_onnx.students.zoo.architecture import STUDENTS
from zskd_onnx.teacher.teacher import Teacher

Load = Callable[..., Teacher]


def randomised(module: nn.Module) -> nn.Module:
    """The module with biases and statistics other than initial ones, in inference mode."""
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
    """A function that exports a torch module and loads it as a teacher."""

    def make(module: nn.Module, shape: tuple[int, ...], **options: object) -> Teacher:
        export(module, shape, tmp_path / "teacher.onnx", "17", fixed=False)
        return load_teacher(tmp_path / "teacher.onnx", **{"input_range": (0, 1), **options})

    return make


def start(student: nn.Module, teacher: Teacher) -> None:
    rng = torch.Generator().manual_seed(0)
    inherit(student, teacher, torch.rand((512, *teacher.domain.shape), generator=rng), rng)


def assert_same(student: nn.Module, teacher: Teacher, tolerance: float = 1e-4) -> None:
    """Student and teacher have the same logits on samples of the unit space."""
    torch.manual_seed(1)
    x = torch.rand(8, *teacher.domain.shape)
    expected = teacher.logits(teacher.domain.to_file(x))
    torch.testing.assert_close(student.eval()(x), expected, rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("name", ["lenet5", "alexnet"])
def test_a_student_of_the_teachers_shape_computes_the_same(name: str, exports: Exports) -> None:
    teacher = load_teacher(exports.path(name, "17"))
    student = STUDENTS[name].build(teacher.domain.shape, 10)
    assert why_not_inheritable(student, teacher) is None
    start(student, teacher)
    assert_same(student, teacher)


@pytest.mark.parametrize(
    ("name", "shape"), [("vgg-small", (3, 16, 16)), ("cnn-small", (2, 20)), ("mlp", (30,)), ("cnn-small", (1, 8, 8))]
)
def test_folded_normalisation_and_other_inputs(name: str, shape: tuple[int, ...], load: Load) -> None:
    teacher = load(randomised(STUDENTS[name].build(shape, 5)), shape, input_range=(0, 1))
    student = STUDENTS[name].build(shape, 5)
    start(student, teacher)
    assert_same(student, teacher)


class Scaled(nn.Module):
    """A network that scales raw pixels to [-1, 1] itself."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x / 255 - 0.5) / 0.5)


class ChannelsLast(nn.Module):
    """A network with channels last at its input and where it flattens, as in Keras."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize(
    "options",
    [{"input_range": (0, 255)}, {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}],
)
def test_the_student_takes_the_unit_space_for_any_input_range(options: dict[str, object], load: Load) -> None:
    net = randomised(STUDENTS["lenet5"].build((3, 16, 16), 10))
    teacher, student = load(net, (3, 16, 16), **options), STUDENTS["lenet5"].build((3, 16, 16), 10)
    start(student, teacher)
    assert_same(student, teacher)


def test_scaling_inside_the_graph(load: Load) -> None:
    net = randomised(STUDENTS["lenet5"].build((3, 16, 16), 10))
    teacher, student = load(Scaled(net), (3, 16, 16), input_range=None), STUDENTS["lenet5"].build((3, 16, 16), 10)
    assert set(teacher.domain.high) == {255.0}
    start(student, teacher)
    assert_same(student, teacher)


def test_a_file_with_channels_last(load: Load) -> None:
    def body() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

    teacher = load(
        randomised(ChannelsLast(body(), nn.Linear(4 * 6 * 8, 10))), (8, 10, 3), layout="NHWC", input_range=(0, 255)
    )
    student = nn.Sequential(*body(), nn.Flatten(), nn.Linear(4 * 6 * 8, 10))
    start(student, teacher)
    assert_same(student, teacher)


def doubled(net: nn.Sequential) -> nn.Sequential:
    """The same function with every hidden channel twice, in a random order."""
    net = copy.deepcopy(net)
    rng = torch.Generator().manual_seed(0)
    *hidden, last = (layer for layer in net if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)))
    width = hidden[0].weight.shape[1]
    order = torch.arange(width)
    for layer in (*hidden, last):
        if isinstance(layer, nn.BatchNorm2d):
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(layer, name).data = getattr(layer, name).data[order]
            continue
        run = layer.weight.shape[1] // width
        inputs = (order[:, None] * run + torch.arange(run)).flatten()
        layer.weight.data = layer.weight.data[:, inputs] * (width / len(order))
        width = len(layer.weight)
        if layer is not last:
            order = torch.randperm(2 * width, generator=rng) % width
            layer.weight.data, layer.bias.data = layer.weight.data[order], layer.bias.data[order]
    return net


NETS: dict[str, Callable[[], tuple[nn.Module, ...]]] = {
    "flattened": lambda: (
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(6 * 9, 8), nn.ReLU(), nn.Linear(8, 5)),
    ),
    "normalised behind the activation": lambda: (
        *(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, dilation=2, padding=2)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_pruning_duplicate_channels_changes_nothing(name: str, load: Load) -> None:
    """A student of half the width computes the same, whichever of two equal channels is removed."""
    torch.manual_seed(0)
    net = randomised(nn.Sequential(*NETS[name]()))
    student, teacher = nn.Sequential(*NETS[name]()), load(doubled(net), (3, 8, 8))
    start(student, teacher)
    assert_same(student, teacher, tolerance=0.01)


def test_pruning_duplicate_channels_with_channels_last(load: Load) -> None:
    """The inputs of a channel are not adjacent after the file flattens."""
    torch.manual_seed(0)
    body, head = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Linear(4 * 6 * 8, 10)
    wide = nn.Conv2d(3, 8, 3)
    wide.weight.data, wide.bias.data = body[0].weight.data.repeat(2, 1, 1, 1), body[0].bias.data.repeat(2)
    wide_head = nn.Linear(8 * 6 * 8, 10)
    wide_head.weight.data = head.weight.data.unflatten(1, (6, 8, 4)).repeat(1, 1, 1, 2).flatten(1) / 2
    net = ChannelsLast(nn.Sequential(wide, nn.ReLU()), wide_head).eval()
    teacher = load(net, (8, 10, 3), layout="NHWC", input_range=(0, 255))
    student = nn.Sequential(*body, nn.Flatten(), nn.Linear(4 * 6 * 8, 10))
    start(student, teacher)
    assert_same(student, teacher, tolerance=0.01)


def test_a_half_size_student_starts_close_to_the_teacher(digits: Teacher) -> None:
    """Agreement on real digits before training, pruned with noise. Magnitude pruning reaches an agreement of 0.12."""
    student = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * 16, 26), nn.ReLU(), nn.Linear(26, 10)),
    )
    x = digits.domain.to_unit(torch.from_numpy(held_out_digits()[0]))
    classes = digits.logits(digits.domain.to_file(x)).argmax(1)
    start(student, digits)
    assert float((student.eval()(x).argmax(1) == classes).float().mean()) > 0.6


def test_batch_normalisation_absorbs_the_bias_before_it(save_model: SaveModel) -> None:
    """The student's convolution has no bias. The epsilons differ."""
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
    start(student, teacher)
    assert_same(student, teacher)


@pytest.mark.parametrize("opposite", [False, True])
def test_two_classes_that_share_a_logit(opposite: bool, load: Load) -> None:
    """One sigmoid, or sigmoids of a logit and of its negative: the student returns both logits."""
    net = randomised(nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2 if opposite else 1)))
    if opposite:
        net[2].weight.data[0], net[2].bias.data[0] = -net[2].weight[1], -net[2].bias[1]
    teacher = load(nn.Sequential(net, nn.Sigmoid()).eval(), (12,), input_range=(0, 1))
    student = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2))
    start(student, teacher)
    assert_same(student, teacher)


class CustomForward(nn.Module):
    """A custom forward method that is a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3, padding="same"), nn.Linear(4 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.max_pool2d(self.conv(x).relu(), 2).flatten(1))


def test_a_custom_module(load: Load) -> None:
    teacher, student = load(randomised(CustomForward()), (1, 8, 8)), CustomForward()
    start(student, teacher)
    assert_same(student, teacher)


def plain(*, width: int = 6, kernel: int = 5, bias: bool = True, classes: int = 10) -> nn.Sequential:
    """The first and the last layer of LeNet-5."""
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
        (plain(width=7), "layer '0' has 7 output channels, expected at most 6 as in the teacher's"),
        (plain(kernel=3), r"layer '0' has kernel \(3, 3\), the teacher's .* \(5, 5\)"),
        (plain(bias=False), "layer '0' has no bias"),
        (plain(classes=9), "layer '4' has 9 output channels, expected 10"),
        (
            nn.Sequential(nn.Conv2d(1, 6, 5), nn.Conv2d(6, 6, 3)),
            r"layer '1' \(convolution\) where the teacher has .*linear",
        ),
        (nn.Sequential(nn.Conv2d(1, 6, 5)), "no counterpart in the student"),
        (nn.Sequential(plain(), nn.Linear(10, 10)), r"layer '1' \(linear\) has no counterpart in the teacher"),
        (nn.Sequential(nn.Conv2d(1, 6, 5), nn.Flatten(), nn.Linear(24, 10)), "layer '2' has 24 inputs, expected 6"),
        (nn.Sequential(nn.Conv2d(1, 6, 5), nn.GroupNorm(2, 6)), "layer '1' is a GroupNorm"),
        (STUDENTS["wrn-16-1"].build((1, 16, 16), 10), "branches or joins at '0'"),
        (nn.LSTM(3, 3), "cannot trace"),
    ],
)
def test_a_student_with_other_layers_is_refused_and_unchanged(student: nn.Module, reason: str, load: Load) -> None:
    teacher = load(randomised(plain()), (1, 16, 16))
    before = copy.deepcopy(student.state_dict())
    assert why_not_inheritable(student, teacher) is not None
    with pytest.raises(UsageError, match=reason) as error:
        start(student, teacher)
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_teacher_with_shortcuts_is_refused(exports: Exports) -> None:
    teacher = load_teacher(exports.path("resnet", "17"))
    with pytest.raises(UsageError, match="the teacher is not a plain chain"):
        start(STUDENTS["cnn"].build(teacher.domain.shape, 10), teacher)
