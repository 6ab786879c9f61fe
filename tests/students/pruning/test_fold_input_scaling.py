"""The teacher's layers, rewritten for samples of the unit space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.conftest import export
from zskd_onnx import UsageError, load_teacher
from zskd_onnx.students.pruning.fold_input_scaling import fold_input_scaling


class Shifted(nn.Module):
    """A convolution of an input minus a constant."""

    def __init__(self, constant: Tensor) -> None:
        super().__init__()
        self.register_buffer("constant", constant)
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv((x - self.constant) / 40).flatten(1))


def test_a_padded_first_layer_differs_only_at_the_border(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Shifted(torch.tensor([100.0, 110.0, 120.0]).view(1, 3, 1, 1))
    export(net, (3, 8, 8), tmp_path / "net.onnx", "17", fixed=False)
    teacher = load_teacher(tmp_path / "net.onnx", input_range=(0, 255))
    first, final = fold_input_scaling(teacher)
    x = torch.rand(2, 3, 8, 8)
    folded = F.conv2d(x, first.weight, first.bias, padding=1)
    original = net.conv((255 * x - net.constant) / 40)
    torch.testing.assert_close(folded[:, :, 1:-1, 1:-1], original[:, :, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(folded[:, :, 0], original[:, :, 0], atol=0.1)
    assert torch.equal(final.weight, net.fc.weight)


def test_a_mean_image_cannot_be_folded_into_a_convolution(tmp_path: Path) -> None:
    net = Shifted(100 * torch.rand(1, 3, 8, 8))
    export(net, (3, 8, 8), tmp_path / "net.onnx", "17", fixed=False)
    teacher = load_teacher(tmp_path / "net.onnx", input_range=(0, 255))
    with pytest.raises(UsageError, match="each position"):
        fold_input_scaling(teacher)


class Preprocessed(nn.Module):
    """A function of the input, followed by a convolution or a fully connected layer."""

    def __init__(self, function: Callable[[Tensor], Tensor], *, flat: bool) -> None:
        super().__init__()
        self.function = function
        self.net = nn.Sequential(
            *((nn.Flatten(), nn.Linear(192, 8)) if flat else (nn.Conv2d(3, 4, 3), nn.Flatten())),
            *(nn.ReLU(), nn.Linear(8 if flat else 144, 10)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.function(x))


NOT_SCALINGS = {
    "standardised": lambda x: (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 1e-3),
    "centred": lambda x: x - x.mean((1, 2, 3), keepdim=True),
    "sqrt": torch.sqrt,
    "sigmoid": torch.sigmoid,
    "square": torch.square,
    "mirrored": lambda x: x.flip(3),
}


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", NOT_SCALINGS)
def test_other_functions_cannot_be_folded(name: str, flat: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    export(Preprocessed(NOT_SCALINGS[name], flat=flat), (3, 8, 8), tmp_path / "net.onnx", "17", fixed=False)
    with pytest.raises(UsageError, match=r"more than scale|is a batch normalisation|not a plain chain"):
        fold_input_scaling(load_teacher(tmp_path / "net.onnx", input_range=(0, 1)))


@pytest.mark.parametrize("flat", [False, True])
def test_a_negative_scale_can_be_folded(flat: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Preprocessed(lambda x: 1 - 2 * x, flat=flat)
    export(net, (3, 8, 8), tmp_path / "net.onnx", "17", fixed=False)
    first, _ = fold_input_scaling(load_teacher(tmp_path / "net.onnx", input_range=(0, 1)))
    layer = net.net[1] if flat else net.net[0]
    torch.testing.assert_close(first.weight, -2 * layer.weight)
