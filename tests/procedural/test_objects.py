"""Objects on an empty ground."""

from __future__ import annotations

import pytest
import torch

from zskd_onnx.procedural.objects import MIRRORED, objects


def rng_with(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(64, 1, 28, 28), (64, 3, 20, 13), (5, 1, 1, 1)])
def test_images_are_in_the_unit_space_and_reproducible(shape: tuple[int, ...]) -> None:
    like = torch.empty(shape)
    images = objects(like, rng_with())
    assert images.shape == shape
    assert images.isfinite().all()
    assert float(images.amin()) >= 0
    assert float(images.amax()) <= 1
    assert torch.equal(images, objects(like, rng_with()))
    assert not torch.equal(images, objects(like, rng_with(1)))


def test_an_object_stands_on_an_empty_ground() -> None:
    images = objects(torch.empty(1000, 1, 28, 28), rng_with())
    ink = (images > 0).float().mean((1, 2, 3))
    assert 0.2 < float(ink.median()) < 0.5
    assert float((ink > 0).float().mean()) > 0.97
    border = torch.cat([images[..., 0], images[..., -1], images[..., 0, :], images[..., -1, :]], -1)
    assert float((border > 0).float().mean()) < 0.5 * float(ink.mean())


def test_half_of_the_objects_are_mirror_symmetric() -> None:
    shapes = objects(torch.empty(2000, 1, 32, 32), rng_with()) > 0
    differing = (shapes != shapes.flip(3)).float().mean((1, 2, 3))
    assert MIRRORED - 0.05 < float((differing < 0.01).float().mean()) < MIRRORED + 0.1
