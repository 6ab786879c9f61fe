"""Lines drawn by chance in the place of samples."""

from __future__ import annotations

import pytest
import torch

from tests.distillation.test_augmentation import STILL, generator
from zskd_onnx.distillation.augmentation import Augmentation


@pytest.mark.parametrize("shape", [(3, 32, 24), (2, 60), (1, 9, 12, 15)])
def test_contours_are_lines_of_one_colour_on_nothing(shape: tuple[int, ...]) -> None:
    x = torch.full((400, *shape), 0.25)
    seen = Augmentation(**STILL, contours=0.5).apply(x, generator(1)).flatten(2)
    drawn = ~torch.isclose(seen, torch.tensor(0.25), atol=1e-5).all(2).all(1)
    assert float(drawn.float().mean()) == pytest.approx(0.5, abs=0.08)
    lines = seen[drawn]
    colour = lines.amax(2, keepdim=True)
    assert float(colour.amin()) >= 0
    assert float(colour.amax()) <= 1
    inside = lines / colour.clamp_min(1e-9)
    shown = colour.amin(1).flatten() > 0.5  # nothing of a line may lie in a picture
    torch.testing.assert_close(inside[shown], inside[shown, :1].expand_as(inside[shown]), rtol=0, atol=1e-4)
    assert float(shown.float().mean()) > 0.6
    share = inside[shown, 0].mean(1)
    assert 0.1 < float(share.mean()) < 0.6
    assert float((share < 0.95).float().mean()) > 0.95


def test_contours_follow_smooth_fields() -> None:
    """Far fewer edges than pixels that are drawn alone would have."""
    seen = Augmentation(**STILL, contours=1.0).apply(torch.zeros(200, 1, 32, 32), generator()) > 0.25
    lit = float(seen.float().mean())
    edges = float((seen[..., 1:] != seen[..., :-1]).float().mean())
    assert 0.02 < edges < 0.4 * 2 * lit * (1 - lit)


@pytest.mark.parametrize("sides", [(32, 96), (80, 20), (8, 40, 40)])
def test_contours_are_not_stretched(sides: tuple[int, ...]) -> None:
    """A field in which no direction is preferred changes as much along its height as along its width."""
    seen = Augmentation(**STILL, contours=1.0).apply(torch.zeros(400, 1, *sides), generator())
    down, across = ((seen.diff(dim=axis).abs()).mean() for axis in (-2, -1))
    assert float(down / across) == pytest.approx(1, abs=0.1)


def test_vectors_have_no_contours() -> None:
    vectors = torch.rand(20, 7, generator=generator())
    assert torch.equal(Augmentation(**STILL, contours=1.0).apply(vectors, generator()), vectors)
