"""Pen strokes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from zskd_onnx.procedural import pen_strokes as module
from zskd_onnx.procedural.pen_strokes import _paths, distances, pen_strokes


def rng_with(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_distances_from_a_circle() -> None:
    """For a closed line, the distance follows from the radius."""
    angle = 2 * math.pi * torch.arange(120) / 120
    points = torch.stack([20 + 9 * angle.cos(), 14 + 9 * angle.sin()], 1)[None]
    result = distances(points, torch.full((1, 120), 18 * math.pi / 120), torch.full((1, 1, 1), 0.5), (28, 40))[0]
    rows, columns = torch.arange(28)[:, None] + 0.5, torch.arange(40) + 0.5
    exact = ((columns - 20).hypot(rows - 14) - 9).abs()
    near = exact < 2.5
    assert int(near.sum()) > 200
    assert float((result - exact).abs()[near & (exact > 0.4)].max()) < 0.1
    assert float((result - exact).abs()[near].max()) < 0.4
    assert float(result[exact > 3].min()) > 2.5


def test_distances_beyond_an_end() -> None:
    """They are distances from the last point."""
    points = torch.stack([torch.linspace(5.5, 15.5, 41), torch.full((41,), 10.5)], 1)[None]
    result = distances(points, torch.full((1, 41), 0.25), torch.full((1, 1, 1), 0.5), (21, 24))[0, 10]
    assert result[5:16].tolist() == pytest.approx([0] * 11, abs=0.6)
    assert result[16:19].tolist() == pytest.approx([1, 2, 3], abs=0.35)


def test_points_with_spacing_zero_are_left_out() -> None:
    points = torch.tensor([[[4.5, 4.5], [12.5, 4.5]]])
    result = distances(points, torch.tensor([[1.0, 0.0]]), torch.full((1, 1, 1), 1.0), (9, 17))[0, 4]
    assert float(result[4]) < float(result[12]) == float(result.max())


@pytest.mark.parametrize(
    ("sides", "channels"), [((32, 32), 1), ((16, 16), 1), ((48, 40), 3), ((20, 64), 2), ((64, 20), 1)]
)
def test_strokes_have_one_colour_on_black(sides: tuple[int, int], channels: int) -> None:
    images = pen_strokes(torch.empty(300, channels, *sides), rng_with(1))
    assert images.shape == (300, channels, *sides)
    colour = images.amax((2, 3), keepdim=True)
    assert 0.5 < float(colour.min()) <= float(colour.max()) <= 1
    inside = images / colour
    torch.testing.assert_close(inside, inside[:, :1].expand_as(inside), rtol=0, atol=1e-4)
    lit = inside[:, 0] > 0.5
    share = lit.float().mean((1, 2))
    assert 0.03 < float(share.mean()) < 0.25
    assert float(share.max()) < 0.6
    # No position is deeper inside than half of the widest pen, unless strokes are side by side.
    reach = 1 + math.ceil(0.125 / 2 * min(sides))
    dark = (~lit).float()[:, None]
    reached = F.max_pool2d(F.pad(dark, [reach] * 4, value=1.0), 2 * reach + 1, stride=1)[:, 0] > 0
    assert float((reached | ~lit).float().mean((1, 2)).eq(1).float().mean()) > 0.7


def test_numbers_of_strokes_and_density_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def spy(
        points: torch.Tensor, spacing: torch.Tensor, deviation: torch.Tensor, sides: tuple[int, int]
    ) -> torch.Tensor:
        calls.append((spacing, deviation))
        return distances(points, spacing, deviation, sides)

    monkeypatch.setattr(module, "distances", spy)
    pen_strokes(torch.empty(2000, 1, 32, 32), rng_with(5))
    [(spacing, deviation)] = calls
    present = (spacing.unflatten(1, (3, -1)) > 0).all(2)
    assert torch.equal(present, (spacing.unflatten(1, (3, -1)) > 0).any(2))
    for count, share in zip((1, 2, 3), (0.5, 0.35, 0.15), strict=True):
        assert float((present.sum(1) == count).float().mean()) == pytest.approx(share, abs=0.04)
    assert float((spacing.amax(1) <= 2 * deviation.flatten()).float().mean()) > 0.9


def test_strokes_have_corners_and_touch() -> None:
    paths, steps = _paths(2000, rng_with(6))
    extent = (paths.amax((1, 2)) - paths.amin((1, 2))).amax(1)
    torch.testing.assert_close(extent, torch.ones(2000), rtol=0, atol=1e-4)
    torch.testing.assert_close(paths.amax((1, 2)), -paths.amin((1, 2)), rtol=0, atol=1e-4)
    along = paths[:, 0].diff(dim=1)
    torch.testing.assert_close(along.norm(dim=2), steps[:, 0, 1:], rtol=1e-3, atol=1e-4)
    turned = torch.cosine_similarity(along[:, 1:], along[:, :-1], dim=2).clamp(-1, 1).arccos()
    # Corners have a standard deviation of 1.5, so half of them are above one radian; bends never are.
    assert float((turned > 1).float().mean()) == pytest.approx(0.08 * 0.5, abs=0.01)
    two = steps[:, 1, 0] > 0
    gap = torch.cdist(paths[two, 0], paths[two, 1]).amin((1, 2))
    assert float((gap < 1e-4).float().mean()) == pytest.approx(0.6, abs=0.05)


def test_strokes_have_the_width_of_the_pen() -> None:
    """The width is twice the area divided by the length of the rim."""
    images = pen_strokes(torch.empty(400, 1, 64, 64), rng_with(2)) > 0.25
    rim = F.max_pool2d((~images).float(), 3, stride=1, padding=1).bool() & images
    width = 2 * images.sum((1, 2, 3)) / rim.sum((1, 2, 3))
    assert 2.5 < float(width.quantile(0.05)) < float(width.quantile(0.5)) < float(width.quantile(0.95)) < 10


@pytest.mark.parametrize("sides", [(24, 72), (72, 24), (16, 55), (20, 39)])
def test_a_long_image_is_a_row_of_drawings(sides: tuple[int, int]) -> None:
    images = pen_strokes(torch.empty(100, 1, *sides), rng_with())
    axis = 2 if sides[0] > sides[1] else 3
    parts = images.chunk(max(sides) // min(sides), axis)
    for part in parts:
        assert (part.amax((1, 2, 3)) > 0.5).all()
    lit = images.amax((1, 5 - axis)) > 0.1  # whether anything is drawn at a position of the row
    runs = (lit[:, 1:] & ~lit[:, :-1]).sum(1) + lit[:, 0]
    assert float(runs.float().mean()) > 0.8 * len(parts)


def test_the_cost_of_a_drawing_does_not_depend_on_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances are computed within each drawing's own cell."""
    calls: list[tuple[torch.Size, tuple[int, int]]] = []

    def spy(
        points: torch.Tensor, spacing: torch.Tensor, deviation: torch.Tensor, sides: tuple[int, int]
    ) -> torch.Tensor:
        calls.append((points.shape, sides))
        return distances(points, spacing, deviation, sides)

    monkeypatch.setattr(module, "distances", spy)
    pen_strokes(torch.empty(4, 1, 16, 1605), rng_with())
    assert calls == [((400, 144, 2), (16, 17))]


@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_strokes_have_the_requested_type(kind: torch.dtype) -> None:
    x = torch.zeros(8, 1, 32, 32, dtype=kind)
    assert pen_strokes(x, rng_with()).dtype == kind
