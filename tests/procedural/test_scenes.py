"""Objects on a ground of dead leaves or of one texture."""

from __future__ import annotations

import pytest
import torch

from zskd_onnx.procedural.objects import draw_objects, objects
from zskd_onnx.procedural.scenes import scenes


def rng_with(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(64, 1, 28, 28), (63, 3, 20, 13), (1, 3, 16, 16), (2, 3, 1, 1)])
def test_images_are_in_the_unit_space_and_reproducible(shape: tuple[int, ...]) -> None:
    like = torch.empty(shape)
    images = scenes(like, rng_with())
    assert images.shape == shape
    assert images.isfinite().all()
    assert float(images.amin()) >= 0
    assert float(images.amax()) <= 1
    assert torch.equal(images, scenes(like, rng_with()))


def test_the_ground_is_seen_around_an_object_and_through_its_holes() -> None:
    like = torch.zeros(500, 1, 32, 32)
    grounds = [torch.full_like(like, value) for value in (0.0, 0.25, 0.5)]
    first, second, third = (draw_objects(ground, rng_with()) for ground in grounds)
    assert torch.equal(first, objects(like, rng_with()))
    object_ = first == second
    assert torch.equal(second == third, object_)
    assert 0.2 < float(object_.float().mean()) < 0.6
    assert (second[~object_] == 0.25).all()
    assert (third[~object_] == 0.5).all()


def test_half_of_the_grounds_are_one_texture() -> None:
    """Pixels of one texture differ less from their neighbours than dead leaves do at the edges of their shapes."""
    images = scenes(torch.empty(400, 1, 32, 32), rng_with())
    corners = images[:, 0, :6, :6]
    steps = (corners[:, :, 1:] - corners[:, :, :-1]).abs().amax((1, 2))
    assert float(steps[:200].mean()) > 1.2 * float(steps[200:].mean())
