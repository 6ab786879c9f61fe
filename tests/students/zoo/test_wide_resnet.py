"""Wide ResNets: the sizes of the replication's table 1, and the order within a block."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from zskd_onnx import UsageError
from zskd_onnx.students.choose import choose
from zskd_onnx.students.describe import parameters
from zskd_onnx.students.zoo.architecture import STUDENTS


@pytest.mark.parametrize(("name", "thousands"), [("16-1", 175), ("16-2", 691), ("40-1", 563), ("40-2", 2243)])
def test_number_of_parameters_of_the_paper(name: str, thousands: int) -> None:
    assert parameters(STUDENTS[f"wrn-{name}"].build((3, 32, 32), 10)) // 1000 == thousands


def test_a_name_gives_any_depth_and_width() -> None:
    choice = choose("wrn-22-3", (3, 32, 32))
    net = choice.factory((3, 32, 32), 10)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 22  # the stem, 18 in nine blocks, and a projection for each group
    assert sorted({c.out_channels for c in convolutions}) == [16, 48, 96, 192]
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", ["wrn-17-1", "wrn-4-1", "wrn-16-0", "wrn-106-1", "wrn-16-99", "wrn-16", "wrn-16-2x"])
def test_invalid_names_are_errors(name: str) -> None:
    with pytest.raises(UsageError, match=r"wrn-D-K with D = 10, 16, 22"):
        choose(name, (3, 32, 32))


def test_normalisation_precedes_convolution() -> None:
    """If the residual branch is zero, a block with equal shapes returns x, and a projection reads ReLU(BN(x))."""
    net = STUDENTS["wrn-16-2"].build((3, 16, 16), 10).eval()
    widening, plain = net[1], net[2]
    for block in (widening, plain):
        nn.init.zeros_(block.conv2.weight)
        nn.init.normal_(block.bn1.running_mean)
        nn.init.uniform_(block.bn1.running_var, 0.5, 2)
    x = torch.randn(2, 32, 8, 8)
    assert torch.equal(plain(x), x)
    x = torch.randn(2, 16, 8, 8)
    mean, var = (v.view(-1, 1, 1) for v in (widening.bn1.running_mean, widening.bn1.running_var))
    activated = ((x - mean) / (var + 1e-5).sqrt()).relu()
    projected = torch.einsum("oi,nihw->nohw", widening.shortcut.weight[:, :, 0, 0], activated)
    torch.testing.assert_close(widening(x), projected, rtol=1e-4, atol=1e-5)


def test_initialisation() -> None:
    """Kaiming initialisation by fan-out: a standard deviation of sqrt(2 / (9 x filters))."""
    torch.manual_seed(0)
    net = STUDENTS["wrn-16-2"].build((3, 32, 32), 10)
    assert net[-4 - 2].conv2.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.01)
    assert not net[-1].bias.any()
