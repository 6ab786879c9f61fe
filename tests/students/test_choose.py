"""Choice of the student, and the architectures of the papers' tables."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zskd_onnx import UsageError
from zskd_onnx.students.choose import build, choose
from zskd_onnx.students.describe import parameters
from zskd_onnx.students.zoo.alexnet import ResponseNorm
from zskd_onnx.students.zoo.architecture import STUDENTS


def make(name: str, shape: tuple[int, ...], classes: int = 10, seed: int = 0) -> nn.Module:
    return build(choose(name, shape), shape, classes, seed)


def convolutions(module: nn.Module) -> list[int]:
    return [m.out_channels for m in module.modules() if isinstance(m, nn.Conv2d)]


def units(module: nn.Module) -> list[int]:
    return [m.out_features for m in module.modules() if isinstance(m, nn.Linear)]


def test_lenet_has_the_layers_of_the_supplement() -> None:
    """ZSKD supplement, table 1. LeNet-5 has 61,706 parameters on 32x32 images and 44,426 on 28x28."""
    teacher, student = make("lenet5", (1, 28, 28)), make("lenet5-half", (1, 28, 28))
    assert convolutions(teacher) == [6, 16]
    assert convolutions(student) == [3, 8]
    assert units(teacher) == units(student) == [120, 84, 10]
    assert parameters(teacher) == 44_426
    assert parameters(make("lenet5", (1, 32, 32))) == 61_706


def test_alexnet_has_the_layers_of_the_supplement() -> None:
    """ZSKD supplement, table 2."""
    teacher, student = make("alexnet", (3, 32, 32)), make("alexnet-half", (3, 32, 32))
    assert convolutions(teacher) == [48, 128, 192, 192, 128]
    assert convolutions(student) == [24, 64, 96, 96, 64]
    assert units(teacher) == [512, 256, 10]
    assert units(student) == [256, 128, 10]


def kinds(module: nn.Module) -> str:
    """A letter for each layer, in order."""
    letters = {nn.Conv2d: "C", nn.ReLU: "R", ResponseNorm: "N", nn.MaxPool2d: "P", nn.BatchNorm2d: "B"}
    letters |= {nn.Flatten: "-", nn.Linear: "F", nn.Dropout: "D", nn.BatchNorm1d: "B"}
    return "".join(letters[type(layer)] for layer in module.children())


@pytest.mark.parametrize("name", ["lenet5", "lenet5-half"])
def test_order_and_initialisation_of_table_1(name: str) -> None:
    module = make(name, (1, 32, 32))
    assert kinds(module) == "CRPCRP-FRFRF"
    for layer in module.children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is not None
            assert not layer.bias.any()
            # Truncation at two standard deviations leaves 0.88 of the standard deviation.
            assert float(layer.weight.detach().abs().max()) <= 0.2
            assert float(layer.weight.detach().std()) == pytest.approx(0.088, rel=0.15)


@pytest.mark.parametrize("name", ["alexnet", "alexnet-half"])
def test_order_and_initialisation_of_table_2(name: str) -> None:
    module = make(name, (3, 32, 32))
    assert kinds(module) == "CRNPBCRNPBCRBCRBCRPB-FRDBFRDBF"
    weighted = [layer for layer in module.children() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [layer.kernel_size[0] for layer in weighted if isinstance(layer, nn.Conv2d)] == [5, 5, 3, 3, 3]
    assert [float(layer.bias.detach().mean()) for layer in weighted] == [0, 1, 0, 1, 1, 0, 0, 0]
    for layer in weighted:
        assert float(layer.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    for layer in module.modules():
        if isinstance(layer, nn.MaxPool2d):
            assert (layer.kernel_size, layer.stride) == (3, 2)
        if isinstance(layer, nn.Dropout):
            assert layer.p == 0.5


def test_local_response_normalisation_equals_that_of_tensorflow() -> None:
    """x / (1 + 1e-4 * sum of squares over the channel and two on each side) ** 0.75."""
    norm = next(layer for layer in make("alexnet", (3, 32, 32)).children() if isinstance(layer, nn.LocalResponseNorm))
    x = 30 * torch.randn((1, 9, 1, 1), generator=torch.Generator().manual_seed(0))
    expected = [x[0, i] / (1 + 1e-4 * x[0, max(0, i - 2) : i + 3].square().sum()) ** 0.75 for i in range(9)]
    torch.testing.assert_close(norm(x)[0], torch.stack(expected))


@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (3, 32, 32), (3, 33, 47), (1, 8, 8), (4, 64, 64), (1, 1, 1), (7,), (300,)]
)
@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_every_student_runs_on_the_shapes_it_supports(name: str, shape: tuple[int, ...]) -> None:
    if STUDENTS[name].unsupported_reason(shape) is not None:
        with pytest.raises(UsageError, match="does not support"):
            make(name, shape)
        return
    logits = make(name, shape, classes=3)(torch.rand(4, *shape))
    assert logits.shape == (4, 3)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("shape", "expected"), [((1, 28, 28), "lenet5-half"), ((3, 32, 32), "alexnet-half")])
def test_half_is_the_papers_student(shape: tuple[int, ...], expected: str) -> None:
    assert choose("half", shape).name == expected


def test_half_has_no_student_for_vectors() -> None:
    with pytest.raises(UsageError, match="auto"):
        choose("half", (7,))


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'lenet5-half'"):
        choose("lenet-half", (1, 28, 28))


def test_an_unknown_name_gets_a_list_with_the_forms_of_names() -> None:
    with pytest.raises(
        UsageError, match=r"expected auto, half, .*, cnn-W, .*mlp-W, .*wrn-D-K, timm:NAME, or file\.py:factory"
    ):
        choose("perceptron", (7,))


def flat(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_the_seed_determines_the_initial_weights() -> None:
    before = torch.get_rng_state()
    first = flat(make("cnn", (1, 8, 8)))
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, flat(make("cnn", (1, 8, 8))))
    assert not torch.equal(first, flat(make("cnn", (1, 8, 8), seed=1)))
