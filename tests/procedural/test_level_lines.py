"""Level-set lines of smooth random fields."""

from __future__ import annotations

import pytest
import torch

from zskd_onnx.procedural.level_lines import level_lines


def rng_with(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(3, 32, 24), (2, 60), (1, 9, 12, 15)])
def test_lines_have_one_colour_on_black(shape: tuple[int, ...]) -> None:
    images = level_lines(torch.empty(200, *shape), rng_with(1)).flatten(2)
    colour = images.amax(2, keepdim=True)
    assert float(colour.amin()) >= 0
    assert float(colour.amax()) <= 1
    line = images / colour.clamp_min(1e-9)
    visible = colour.amin(1).flatten() > 0.5  # an image may have no part of a line
    torch.testing.assert_close(line[visible], line[visible, :1].expand_as(line[visible]), rtol=0, atol=1e-4)
    assert float(visible.float().mean()) > 0.6
    share = line[visible, 0].mean(1)
    assert 0.1 < float(share.mean()) < 0.6
    assert float((share < 0.95).float().mean()) > 0.95


def test_lines_follow_smooth_fields() -> None:
    """There are far fewer edges than with independent pixels."""
    lit = level_lines(torch.empty(200, 1, 32, 32), rng_with()) > 0.25
    share = float(lit.float().mean())
    edges = float((lit[..., 1:] != lit[..., :-1]).float().mean())
    assert 0.02 < edges < 0.4 * 2 * share * (1 - share)


@pytest.mark.parametrize("sides", [(32, 96), (80, 20), (8, 40, 40)])
def test_lines_are_not_stretched(sides: tuple[int, ...]) -> None:
    """Fields change equally along the height and the width."""
    images = level_lines(torch.empty(400, 1, *sides), rng_with())
    down, across = ((images.diff(dim=axis).abs()).mean() for axis in (-2, -1))
    assert float(down / across) == pytest.approx(1, abs=0.1)
