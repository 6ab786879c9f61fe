"""Augmentation against pictures whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from zskd_onnx.distillation.augmentation import Augmentation

UNCUT = {"fraction": 1.0, "crop": 0.0, "redraw": 0.0}
"""Every sample, without what cuts or replaces values."""

STILL = {**UNCUT, "rotation": 0.0, "scale": (1.0, 1.0), "shift": 0.0}
"""And without geometry."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(height: int = 8, width: int = 8, channels: int = 2, count: int = 6) -> torch.Tensor:
    return torch.rand(count, channels, height, width, generator=generator(9))


def test_identity_settings_change_nothing() -> None:
    x = pictures(6, 10)
    torch.testing.assert_close(Augmentation(**STILL).apply(x, generator()), x, rtol=0, atol=1e-5)


def test_a_fraction_of_nothing_returns_the_batch_itself() -> None:
    x = pictures()
    assert Augmentation(fraction=0.0, noise=1.0).apply(x, generator()) is x


def turned(x: torch.Tensor, angle: float, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Every draw at the top of its range: the largest rotation."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda *size, **_: torch.ones(*size))
        return Augmentation(**{**STILL, "rotation": angle}).apply(x, generator())


@pytest.mark.parametrize(("angle", "quarters"), [(90.0, 1), (180.0, 2)])
def test_quarter_turns(angle: float, quarters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = pictures()
    torch.testing.assert_close(turned(x, angle, monkeypatch), torch.rot90(x, quarters, (2, 3)), rtol=0, atol=1e-4)


def test_an_oblong_picture_is_turned_not_sheared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter turn of a bar that is as long as the height: still a bar of the same length."""
    x = torch.zeros(1, 1, 9, 21)
    x[:, :, :, 10] = 1
    expected = torch.zeros_like(x)
    expected[:, :, 4, 6:15] = 1
    torch.testing.assert_close(turned(x, 90.0, monkeypatch), expected, rtol=0, atol=1e-4)


def test_every_angle_between_is_drawn() -> None:
    x = torch.zeros(200, 1, 9, 9)
    x[:, :, 0, 4] = 1
    moved = Augmentation(**{**STILL, "rotation": 180.0}).apply(x, generator())
    reached = (moved.sum(0)[0] > 0.05).float()
    assert reached[0, 4] == reached[8, 4] == reached[4, 0] == reached[4, 8] == 1
    assert reached[4, 4] == 0


def test_shrinking_brings_the_frame_inside() -> None:
    x = torch.ones(1, 1, 16, 16)
    small = Augmentation(**{**STILL, "scale": (0.5, 0.5)}).apply(x, generator())
    expected = torch.zeros_like(x)
    expected[:, :, 4:12, 4:12] = 1
    inner = small[0, 0, 5:11, 5:11]
    torch.testing.assert_close(inner, torch.ones_like(inner))
    assert float(small.sum()) == pytest.approx(float(expected.sum()), rel=0.15)
    assert float(small[0, 0, :3].sum()) == 0


def test_enlarging_shows_the_middle() -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[:, :, 2:6, 2:6] = 1
    large = Augmentation(**{**STILL, "scale": (2.0, 2.0)}).apply(x, generator())
    torch.testing.assert_close(large[0, 0, 1:-1, 1:-1], torch.ones(6, 6))


def test_a_shift_moves_and_does_not_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every draw at the top, the picture moves by shift * side towards the origin."""
    x = pictures(8, 12)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda *size, **_: torch.ones(*size))
        moved = Augmentation(**{**STILL, "shift": 0.25}).apply(x, generator())
    expected = torch.zeros_like(x)
    expected[:, :, :6, :9] = x[:, :, 2:, 3:]
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-4)


def test_shifts_stay_within_their_share() -> None:
    x = torch.zeros(500, 1, 21, 21)
    x[:, :, 10, 10] = 1
    seen = Augmentation(**{**STILL, "shift": 0.2}).apply(x, generator()).sum(0)[0] > 1e-3
    rows, columns = seen.nonzero().T
    assert rows.min() >= 5
    assert rows.max() <= 15
    assert columns.max() - columns.min() >= 7


def test_a_certain_flip_mirrors_left_and_right() -> None:
    x = pictures(6, 10)
    torch.testing.assert_close(Augmentation(**STILL, flip=1.0).apply(x, generator()), x.flip(3), rtol=0, atol=1e-5)


def test_the_rest_of_the_batch_stays() -> None:
    x = pictures(count=10)
    seen = Augmentation(fraction=0.3, rotation=90.0, noise=0.5).apply(x, generator())
    assert torch.equal(seen[:7], x[:7])
    assert not any(torch.allclose(a, b) for a, b in zip(seen[7:], x[7:], strict=True))


def test_values_stay_in_range_and_noise_has_its_size() -> None:
    x = torch.full((400, 1, 8, 8), 0.5)
    seen = Augmentation(**STILL, noise=0.1).apply(x, generator())
    deviations = (seen - 0.5).flatten(1).std(1)
    assert deviations.max() < 0.13
    assert float(deviations.mean()) == pytest.approx(0.05, rel=0.1)
    loud = Augmentation(**STILL, noise=5.0).apply(x, generator())
    assert float(loud.min()) == 0
    assert float(loud.max()) == 1


def test_vectors_know_no_geometry() -> None:
    x = torch.rand(20, 7, generator=generator())
    settings = Augmentation(**UNCUT, rotation=90.0, scale=(0.5, 0.5), shift=0.5, flip=1.0)
    assert torch.equal(settings.apply(x, generator()), x)
    noisy = Augmentation(**UNCUT, noise=0.1).apply(x, generator())
    assert noisy.shape == x.shape
    assert not torch.equal(noisy, x)


def test_mixup_blends_two_of_the_batch() -> None:
    x = torch.eye(8)
    mixed = Augmentation(**UNCUT, mixup=1.0).apply(x, generator())
    torch.testing.assert_close(mixed.sum(1), torch.ones(8))
    assert ((mixed > 0).sum(1) <= 2).all()
    assert ((mixed > 0).sum(1) == 2).any()


def test_the_same_generator_gives_the_same_batch() -> None:
    x, settings = pictures(), Augmentation(fraction=1.0, noise=0.2, mixup=0.5, flip=0.5)
    assert torch.equal(settings.apply(x, generator(3)), settings.apply(x, generator(3)))
    assert not torch.equal(settings.apply(x, generator(3)), settings.apply(x, generator(4)))


def test_samples_are_changed_differently() -> None:
    x = pictures(count=1).expand(4, -1, -1, -1)
    seen = Augmentation(**UNCUT).apply(x, generator())
    assert not any(torch.allclose(seen[0], other) for other in seen[1:])


@pytest.mark.parametrize(
    "fields",
    [
        *({"fraction": 1.1}, {"rotation": -1}, {"scale": (0.0, 1.0)}, {"noise": -1}, {"tilt": 3}),
        *({"pad": -1}, {"pad": 1.5}, {"transpose": 2}, {"salt_and_pepper": 1.1}, {"padding_mode": "wrap"}),
    ],
)
def test_fields_are_checked(fields: dict) -> None:
    with pytest.raises(ValidationError):
        Augmentation(**fields)


def test_a_sequence_is_shifted_along_its_axis() -> None:
    x = torch.zeros(400, 1, 21)
    x[:, :, 10] = 1
    moved = Augmentation(**{**STILL, "shift": 0.2}).apply(x, generator())
    reached = moved.sum((0, 1)) > 0.5
    assert reached.nonzero().flatten().tolist() == list(range(5, 16))  # 10 +- 4.2
    torch.testing.assert_close(moved.sum(2), torch.ones(400, 1))


def test_the_slices_of_a_volume_move_alike() -> None:
    slices = pictures(12, 10, channels=3)
    x = torch.stack([slices, 0.5 * slices], dim=2)
    moved = Augmentation(**UNCUT).apply(x, generator())
    assert not torch.allclose(moved, x)
    torch.testing.assert_close(moved[:, :, 1], 0.5 * moved[:, :, 0])


def test_features_are_redrawn_over_the_whole_domain() -> None:
    x = torch.full((2000, 50), 2.0)  # outside of what is drawn, so that what was redrawn shows
    settings = Augmentation(fraction=1.0, redraw=1.0)
    redrawn = settings._redraw(x, generator())
    fresh = redrawn < 2
    # Shares are uniform on [0, 1], and so are the values.
    share = fresh.float().mean(1)
    torch.testing.assert_close(share.mean(), torch.tensor(0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(share.std(), torch.tensor(12**-0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(redrawn[fresh].mean(), torch.tensor(0.5), atol=0.01, rtol=0)
    images = pictures()
    torch.testing.assert_close(
        Augmentation(**{**STILL, "redraw": 1.0}).apply(images, generator()), images, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("sides", [(32, 32), (9, 21), (5, 40)])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_the_resampling_is_that_of_torch(sides: tuple[int, int], padding: str) -> None:
    """The affine map of the fields' definitions, from the same draws in the documented order."""
    height, width = sides
    x, draws = pictures(height, width, count=20), generator(5)
    angle, scale, mirror, right, down = (torch.rand(20, generator=draws) for _ in range(5))
    angle, scale = (2 * angle - 1) * math.radians(40), 0.5 + 0.7 * scale
    theta = torch.stack(
        [
            *(angle.cos() / scale, -angle.sin() / scale * height / width, (2 * right - 1) * 2 * 0.3),
            *(angle.sin() / scale * width / height, angle.cos() / scale, (2 * down - 1) * 2 * 0.3),
        ],
        dim=1,
    ).view(20, 2, 3)
    theta[mirror < 0.5, :, 0] *= -1
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    expected = F.grid_sample(x, grid, padding_mode=padding, align_corners=False)
    settings = Augmentation(**UNCUT, rotation=40.0, scale=(0.5, 1.2), shift=0.3, flip=0.5, padding_mode=padding)
    torch.testing.assert_close(settings.apply(x, generator(5)), expected, rtol=0, atol=1e-4)


def test_a_certain_flip_mirrors_up_and_down() -> None:
    x = pictures(6, 10)
    flipped = Augmentation(**STILL, flip_up_down=1.0).apply(x, generator())
    torch.testing.assert_close(flipped, x.flip(2), rtol=0, atol=1e-5)


def test_transposition_exchanges_equal_sides_alone() -> None:
    x, oblong = pictures(7, 7), pictures(6, 10)
    settings = Augmentation(**STILL, transpose=1.0)
    torch.testing.assert_close(settings.apply(x, generator()), x.transpose(2, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(settings.apply(oblong, generator()), oblong, rtol=0, atol=1e-5)


def test_flips_and_transposition_give_all_eight_symmetries() -> None:
    x = pictures(5, 5, channels=1, count=1)
    turns = [torch.rot90(y, quarters, (2, 3)) for y in (x, x.flip(3)) for quarters in range(4)]
    seen = Augmentation(**STILL, flip=0.5, flip_up_down=0.5, transpose=0.5).apply(
        x.expand(400, -1, -1, -1), generator()
    )
    close = (seen - torch.cat(turns)[:, None, 0, None]).abs().flatten(2).amax(2) < 1e-4
    assert (close.sum(0) == 1).all()
    assert (close.sum(1) > 25).all()  # 50 of each; a binomial is below 25 with a probability of 1e-5


@pytest.mark.parametrize(("padding", "mode"), [("zeros", "constant"), ("border", "replicate")])
def test_padding_and_cropping_shifts_by_whole_positions(padding: str, mode: str) -> None:
    x = pictures(6, 9, count=1)
    padded = F.pad(x, (2, 2, 2, 2), mode=mode)
    crops = torch.cat([padded[:, :, top : top + 6, left : left + 9] for top in range(5) for left in range(5)])
    seen = Augmentation(**STILL, pad=2, padding_mode=padding).apply(x.expand(1000, -1, -1, -1), generator())
    close = (seen[None] - crops[:, None]).abs().flatten(2).amax(2) < 1e-4
    assert (close.sum(0) == 1).all()
    assert (close.sum(1) > 15).all()  # 40 of each


def test_a_sequence_is_cropped_along_its_axis() -> None:
    x = torch.zeros(200, 1, 21)
    x[:, :, 10] = 1
    moved = Augmentation(**STILL, pad=3).apply(x, generator())
    assert (moved.sum((0, 1)) > 0.5).nonzero().flatten().tolist() == list(range(7, 14))


@pytest.mark.parametrize("shape", [(2, 9, 9), (2, 30), (2, 3, 9, 9)])
def test_border_padding_continues_the_edge(shape: tuple[int, ...]) -> None:
    x = torch.full((10, *shape), 0.7)
    fields = {**UNCUT, "scale": (0.4, 0.6), "pad": 2}
    torch.testing.assert_close(Augmentation(**fields, padding_mode="border").apply(x, generator()), x)
    assert (Augmentation(**fields).apply(x, generator()) == 0).flatten(1).any(1).all()


def test_natural_images_continue_beyond_their_edges_and_are_not_cropped() -> None:
    x = torch.full((50, 3, 9, 9), 0.7)
    settings = Augmentation(fraction=1.0, scale=(0.4, 0.6), crop=1.0)
    torch.testing.assert_close(settings.apply(x, generator(), natural=True), x)
    assert (settings.apply(x, generator()) == 0).flatten(1).any(1).all()
    zeros = settings.model_copy(update={"padding_mode": "zeros"})
    assert (zeros.apply(x, generator(), natural=True) == 0).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("fraction", "procedural", "expected"),
    [(0.8, 0.7, 1 / 3), (0.8, 0.6, 0.5), (0.8, 0.0, 0.8), (0.5, 0.7, 0), (0, 0.7, 0)],
)
def test_procedural_images_count_as_augmented(fraction: float, procedural: float, expected: float) -> None:
    """The share of a batch that stays unchanged is 1 - fraction, as long as there are as many other samples."""
    settings = Augmentation(fraction=fraction).beside(procedural)
    assert settings.fraction == pytest.approx(expected)
    assert Augmentation(fraction=fraction).of_all.fraction == (1 if fraction else 0)


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 256), (3, 4, 8, 8), (256,)])
def test_salt_and_pepper_covers_up_to_its_share_of_positions(shape: tuple[int, ...]) -> None:
    x = torch.full((2000, *shape), 0.5)
    seen = Augmentation(**STILL, salt_and_pepper=0.4).apply(x, generator())
    if len(shape) > 1:
        assert (seen == seen[:, :1]).all()
        seen = seen[:, 0]
    salt, pepper = ((seen > 0.99).float().flatten(1).mean(1), (seen == 0).float().flatten(1).mean(1))
    # Shares are uniform on [0, 0.4], half of it each.
    torch.testing.assert_close(salt.mean(), torch.tensor(0.1), atol=0.01, rtol=0)
    torch.testing.assert_close(pepper.mean(), torch.tensor(0.1), atol=0.01, rtol=0)
    torch.testing.assert_close((salt + pepper).std(), torch.tensor(0.4 / 12**0.5), atol=0.01, rtol=0)
    changed = (salt + pepper + ((seen - 0.5).abs() < 1e-4).float().flatten(1).mean(1)).sub(1).abs()
    assert changed.max() < 1e-6


def test_gaussian_noise_comes_after_salt_and_pepper() -> None:
    x = torch.full((100, 1, 16, 16), 0.5)
    sprinkled = Augmentation(**STILL, salt_and_pepper=1.0).apply(x, generator())
    both = Augmentation(**STILL, salt_and_pepper=1.0, noise=0.1).apply(x, generator())
    assert float((both[sprinkled == 0] > 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((both - sprinkled).abs().amax()) < 0.6


@pytest.mark.parametrize("shape", [(2, 24, 40), (3, 50), (2, 6, 9, 9)])
def test_a_crop_leaves_a_box_on_a_blank_ground(shape: tuple[int, ...]) -> None:
    x = 0.1 + 0.9 * torch.rand(1500, *shape, generator=generator())
    seen = Augmentation(**{**STILL, "crop": 0.5})._crop_on_blank_ground(x, generator(1))
    left = seen > 0
    torch.testing.assert_close(seen[left], x[left], rtol=0, atol=0)
    assert (left == left[:, :1]).all()
    left = left[:, 0]
    sides = torch.stack([left.any(list({*range(1, left.ndim)} - {axis})).sum(1) for axis in range(1, left.ndim)], 1)
    assert torch.equal(left.flatten(1).sum(1), sides.prod(1))  # as many as fill the box of its rows and columns
    whole = (sides == torch.tensor(shape[1:])).all(1)
    assert float(whole.float().mean()) == pytest.approx(0.5, abs=0.06)
    share = (sides[~whole] / torch.tensor(shape[1:])).mean()
    assert float(share) == pytest.approx((1 - 0.1) / math.log(1 / 0.1), abs=0.03)  # the mean of a log-uniform draw
    reached = left[~whole].any(0)
    assert all(reached.movedim(axis, 0)[end].any() for axis in range(reached.ndim) for end in (0, -1))
    vectors = torch.rand(20, 7, generator=generator())
    assert torch.equal(Augmentation(**{**STILL, "crop": 1.0}).apply(vectors, generator()), vectors)


def test_a_crop_is_rotated_with_its_content() -> None:
    x = torch.ones(300, 1, 33, 33)
    seen = Augmentation(**{**STILL, "rotation": 45.0, "crop": 1.0}).apply(x, generator())
    upright = Augmentation(**{**STILL, "crop": 1.0}).apply(x, generator())
    partial = ((seen > 0.01) & (seen < 0.99)).flatten(1).any(1)
    assert float(partial.float().mean()) > 0.9
    assert not ((upright > 0.01) & (upright < 0.99)).any()


def test_sizes_that_descend_are_refused() -> None:
    with pytest.raises(ValidationError, match="smallest and the largest"):
        Augmentation(scale=(2.0, 1.0))


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16), (2, 40), (9,)])
def test_intact_samples_are_moved_and_disturbed_only(shape: tuple[int, ...]) -> None:
    x = torch.rand(50, *shape, generator=generator(3))
    settings = {**UNCUT, "rotation": 20.0, "noise": 0.1}
    moved = Augmentation(**settings)
    everything = Augmentation(**{**settings, "crop": 0.5, "redraw": 1.0}, mixup=0.5)
    assert torch.equal(everything.apply(x, generator(), intact=True), moved.apply(x, generator()))
    assert not torch.equal(everything.apply(x, generator()), moved.apply(x, generator()))
