"""Procedural images as a source: kinds and shares."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from zskd_onnx.procedural.settings import Procedural

BEST = Procedural(level_lines=0.3, pen_strokes=0.4, dead_leaves=0.6)


@pytest.mark.parametrize(
    ("shape", "natural", "kinds"),
    [
        ((1, 28, 28), None, {"level_lines": 0.3, "pen_strokes": 0.4}),
        ((1, 28, 28), True, {"dead_leaves": 0.6}),
        ((3, 32, 32), None, {"dead_leaves": 0.6}),
        ((3, 32, 32), False, {"level_lines": 0.3, "pen_strokes": 0.4}),
        ((1, 8, 8), None, {"level_lines": 0.7}),
        ((3, 100), None, {"level_lines": 0.7}),
        ((1, 16, 16, 16), None, {"level_lines": 0.7}),
        ((64,), None, {}),
    ],
)
def test_kinds_suit_the_shape(shape: tuple[int, ...], natural: bool | None, kinds: dict[str, float]) -> None:
    settings = BEST.model_copy(update={"natural_images": natural})
    assert settings.kinds(shape) == pytest.approx(kinds)
    assert settings.share(shape) == pytest.approx(sum(kinds.values()))


def test_without_dead_leaves_natural_images_get_drawings() -> None:
    settings = Procedural(level_lines=0.5, natural_images=True)
    assert settings.kinds((3, 32, 32)) == {"level_lines": 0.5}
    assert not settings.natural((3, 32, 32))


@pytest.mark.parametrize(
    ("shape", "kinds"),
    [
        ((1, 28, 28), {"level_lines": 0.25, "objects": 0.5}),
        ((1, 8, 8), {"level_lines": 0.25, "objects": 0.5}),
        ((3, 100), {"level_lines": 0.75}),
    ],
)
def test_sequences_get_lines_in_place_of_objects(shape: tuple[int, ...], kinds: dict[str, float]) -> None:
    settings = Procedural(level_lines=0.25, objects=0.5, natural_images=False)
    assert settings.kinds(shape) == pytest.approx(kinds)
    assert settings.draw(6, shape, torch.Generator().manual_seed(0)).shape == (6, *shape)


def test_natural_images_get_dead_leaves_and_scenes() -> None:
    settings = Procedural(level_lines=0.5, dead_leaves=0.25, scenes=0.5, natural_images=True)
    assert settings.kinds((3, 32, 32)) == {"dead_leaves": 0.25, "scenes": 0.5}
    assert settings.kinds((3, 100)) == {"level_lines": 0.5}
    assert Procedural(scenes=0.5, natural_images=True).natural((1, 32, 32))


def test_shares_that_exceed_a_batch_are_refused() -> None:
    with pytest.raises(ValidationError, match="sum of at most 1"):
        Procedural(level_lines=0.7, pen_strokes=0.4)
    with pytest.raises(ValidationError, match="dead_leaves and scenes are shares of one batch"):
        Procedural(dead_leaves=0.7, scenes=0.4)


@pytest.mark.parametrize("count", [1, 7, 70])
def test_each_kind_has_its_share_of_what_is_drawn(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}

    def draw(kind: str) -> object:
        def images(like: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
            drawn[kind] = len(like)
            return torch.zeros_like(like)

        return images

    kinds = {kind: draw(kind) for kind in ("level_lines", "pen_strokes")}
    monkeypatch.setattr("zskd_onnx.procedural.settings.KINDS", kinds)
    assert BEST.draw(count, (1, 28, 28), torch.Generator()).shape == (count, 1, 28, 28)
    assert sum(drawn.values()) == count
    assert drawn.get("level_lines", 0) == round(count * 3 / 7)


def test_the_same_rng_draws_the_same() -> None:
    first, again, other = (BEST.draw(20, (1, 28, 28), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.amin() >= 0
    assert first.amax() <= 1
