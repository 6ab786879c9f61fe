"""The coarse grid, compared with torch's interpolation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from zskd_onnx.synthesis.coarse_grid import CoarseGrid

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("shape", "mode"),
    [((2, 40), "linear"), ((1, 28, 28), "bilinear"), ((3, 20, 32), "bilinear"), ((2, 18, 20, 16), "trilinear")],
)
@pytest.mark.parametrize("share", [0.5, 0.7])
def test_enlargement_equals_torchs_interpolation(shape: tuple[int, ...], mode: str, share: float) -> None:
    grid = CoarseGrid(shape, share, CPU)
    assert grid.shape == (shape[0], *(max(8, round(n * share)) for n in shape[1:]))
    x = torch.randn(4, *grid.shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = F.interpolate(x, shape[1:], mode=mode, align_corners=False)
    torch.testing.assert_close(grid.enlarge(x), expected)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((y * weight).sum(), x)[0] for y in (grid.enlarge(x), expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shape", "share"), [((1, 28, 28), 1.0), ((3, 8, 8), 0.1), ((64,), 0.5)])
def test_a_grid_of_full_size_changes_nothing(shape: tuple[int, ...], share: float) -> None:
    grid = CoarseGrid(shape, share, CPU)
    x = torch.randn(2, *shape)
    assert grid.shape == shape
    assert torch.equal(grid.enlarge(x), x)
