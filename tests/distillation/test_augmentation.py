"""Augmentation against images whose result is known."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from zskd_onnx.distillation.augmentation import Augmentation

GEOMETRY = {"fraction": 1.0, "crop": 0.0, "redraw": 0.0}
"""Geometric changes of every sample: without crops and redrawn features."""

STILL = {**GEOMETRY, "rotation": 0.0, "scale": (1.0, 1.0), "shift": 0.0}
"""The same without geometric changes."""


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(height: int = 8, width: int = 8, channels: int = 2, count: int = 6) -> torch.Tensor:
    return torch.rand(count, channels, height, width, generator=rng(9))


def test_identity_settings_change_nothing() -> None:
    x = images(6, 10)
    torch.testing.assert_close(Augmentation(**STILL).apply(x, rng()), x, rtol=0, atol=1e-5)


def test_fraction_of_zero_returns_the_batch_itself() -> None:
    x = images()
    assert Augmentation(fraction=0.0, noise=1.0).apply(x, rng()) is x


def rotated(x: torch.Tensor, angle: float, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Images rotated by the largest angle: every draw is at the top of its range."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda *size, **_: torch.ones(*size))
        return Augmentation(**{**STILL, "rotation": angle}).apply(x, rng())


@pytest.mark.parametrize(("angle", "quarters"), [(90.0, 1), (180.0, 2)])
def test_rotation_by_quarter_turns(angle: float, quarters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = images()
    torch.testing.assert_close(rotated(x, angle, monkeypatch), torch.rot90(x, quarters, (2, 3)), rtol=0, atol=1e-4)


def test_rotation_does_not_shear_oblong_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar as long as the height has the same length after a quarter turn."""
    x = torch.zeros(1, 1, 9, 21)
    x[:, :, :, 10] = 1
    expected = torch.zeros_like(x)
    expected[:, :, 4, 6:15] = 1
    torch.testing.assert_close(rotated(x, 90.0, monkeypatch), expected, rtol=0, atol=1e-4)


def test_rotation_reaches_every_angle() -> None:
    x = torch.zeros(200, 1, 9, 9)
    x[:, :, 0, 4] = 1
    moved = Augmentation(**{**STILL, "rotation": 180.0}).apply(x, rng())
    reached = (moved.sum(0)[0] > 0.05).float()
    assert reached[0, 4] == reached[8, 4] == reached[4, 0] == reached[4, 8] == 1
    assert reached[4, 4] == 0


def test_small_scale_shows_blank_ground_around_the_image() -> None:
    x = torch.ones(1, 1, 16, 16)
    small = Augmentation(**{**STILL, "scale": (0.5, 0.5)}).apply(x, rng())
    expected = torch.zeros_like(x)
    expected[:, :, 4:12, 4:12] = 1
    inner = small[0, 0, 5:11, 5:11]
    torch.testing.assert_close(inner, torch.ones_like(inner))
    assert float(small.sum()) == pytest.approx(float(expected.sum()), rel=0.15)
    assert float(small[0, 0, :3].sum()) == 0


def test_large_scale_shows_the_middle() -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[:, :, 2:6, 2:6] = 1
    large = Augmentation(**{**STILL, "scale": (2.0, 2.0)}).apply(x, rng())
    torch.testing.assert_close(large[0, 0, 1:-1, 1:-1], torch.ones(6, 6))


def test_shift_does_not_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every draw at the top of its range, the image moves by shift * side towards the origin."""
    x = images(8, 12)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda *size, **_: torch.ones(*size))
        moved = Augmentation(**{**STILL, "shift": 0.25}).apply(x, rng())
    expected = torch.zeros_like(x)
    expected[:, :, :6, :9] = x[:, :, 2:, 3:]
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-4)


def test_largest_shift() -> None:
    x = torch.zeros(500, 1, 21, 21)
    x[:, :, 10, 10] = 1
    reached = Augmentation(**{**STILL, "shift": 0.2}).apply(x, rng()).sum(0)[0] > 1e-3
    rows, columns = reached.nonzero().T
    assert rows.min() >= 5
    assert rows.max() <= 15
    assert columns.max() - columns.min() >= 7


def test_flip_mirrors_left_and_right() -> None:
    x = images(6, 10)
    torch.testing.assert_close(Augmentation(**STILL, flip=1.0).apply(x, rng()), x.flip(3), rtol=0, atol=1e-5)


def test_first_samples_of_a_batch_are_unchanged() -> None:
    x = images(count=10)
    augmented = Augmentation(fraction=0.3, rotation=90.0, noise=0.5).apply(x, rng())
    assert torch.equal(augmented[:7], x[:7])
    assert not any(torch.allclose(a, b) for a, b in zip(augmented[7:], x[7:], strict=True))


def test_noise_has_its_size_and_values_stay_in_range() -> None:
    x = torch.full((400, 1, 8, 8), 0.5)
    augmented = Augmentation(**STILL, noise=0.1).apply(x, rng())
    deviations = (augmented - 0.5).flatten(1).std(1)
    assert deviations.max() < 0.13
    assert float(deviations.mean()) == pytest.approx(0.05, rel=0.1)
    loud = Augmentation(**STILL, noise=5.0).apply(x, rng())
    assert float(loud.min()) == 0
    assert float(loud.max()) == 1


def test_vectors_have_no_geometric_changes() -> None:
    x = torch.rand(20, 7, generator=rng())
    settings = Augmentation(**GEOMETRY, rotation=90.0, scale=(0.5, 0.5), shift=0.5, flip=1.0)
    assert torch.equal(settings.apply(x, rng()), x)
    noisy = Augmentation(**GEOMETRY, noise=0.1).apply(x, rng())
    assert noisy.shape == x.shape
    assert not torch.equal(noisy, x)


def test_mixup_blends_two_samples_of_the_batch() -> None:
    x = torch.eye(8)
    mixed = Augmentation(**GEOMETRY, mixup=1.0).apply(x, rng())
    torch.testing.assert_close(mixed.sum(1), torch.ones(8))
    assert ((mixed > 0).sum(1) <= 2).all()
    assert ((mixed > 0).sum(1) == 2).any()


def test_equal_random_generators_give_equal_batches() -> None:
    x, settings = images(), Augmentation(fraction=1.0, noise=0.2, mixup=0.5, flip=0.5)
    assert torch.equal(settings.apply(x, rng(3)), settings.apply(x, rng(3)))
    assert not torch.equal(settings.apply(x, rng(3)), settings.apply(x, rng(4)))


def test_each_sample_has_its_own_change() -> None:
    x = images(count=1).expand(4, -1, -1, -1)
    augmented = Augmentation(**GEOMETRY).apply(x, rng())
    assert not any(torch.allclose(augmented[0], other) for other in augmented[1:])


@pytest.mark.parametrize(
    "fields",
    [
        *({"fraction": 1.1}, {"rotation": -1}, {"scale": (0.0, 1.0)}, {"noise": -1}, {"tilt": 3}),
        *({"pad": -1}, {"pad": 1.5}, {"transpose": 2}, {"salt_and_pepper": 1.1}, {"padding_mode": "wrap"}),
    ],
)
def test_bad_fields(fields: dict) -> None:
    with pytest.raises(ValidationError):
        Augmentation(**fields)


def test_sequences_are_shifted_along_their_axis() -> None:
    x = torch.zeros(400, 1, 21)
    x[:, :, 10] = 1
    moved = Augmentation(**{**STILL, "shift": 0.2}).apply(x, rng())
    reached = moved.sum((0, 1)) > 0.5
    assert reached.nonzero().flatten().tolist() == list(range(5, 16))  # 10 +- 4.2
    torch.testing.assert_close(moved.sum(2), torch.ones(400, 1))


def test_slices_of_a_volume_move_alike() -> None:
    slices = images(12, 10, channels=3)
    x = torch.stack([slices, 0.5 * slices], dim=2)
    moved = Augmentation(**GEOMETRY).apply(x, rng())
    assert not torch.allclose(moved, x)
    torch.testing.assert_close(moved[:, :, 1], 0.5 * moved[:, :, 0])


def test_features_are_redrawn_over_the_whole_domain() -> None:
    x = torch.full((2000, 50), 2.0)  # above every drawn value, so that redrawn features can be identified
    settings = Augmentation(fraction=1.0, redraw=1.0)
    redrawn = settings._redraw(x, rng())
    is_redrawn = redrawn < 2
    # Shares are uniform on [0, 1], and so are the values.
    share = is_redrawn.float().mean(1)
    torch.testing.assert_close(share.mean(), torch.tensor(0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(share.std(), torch.tensor(12**-0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(redrawn[is_redrawn].mean(), torch.tensor(0.5), atol=0.01, rtol=0)
    x = images()
    torch.testing.assert_close(Augmentation(**{**STILL, "redraw": 1.0}).apply(x, rng()), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sides", [(32, 32), (9, 21), (5, 40)])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_resampling_against_torch(sides: tuple[int, int], padding: str) -> None:
    """The affine map as the fields define it, from the same draws in the same order."""
    height, width = sides
    x, draws = images(height, width, count=20), rng(5)
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
    settings = Augmentation(**GEOMETRY, rotation=40.0, scale=(0.5, 1.2), shift=0.3, flip=0.5, padding_mode=padding)
    torch.testing.assert_close(settings.apply(x, rng(5)), expected, rtol=0, atol=1e-4)


def test_flip_up_down_mirrors_up_and_down() -> None:
    x = images(6, 10)
    flipped = Augmentation(**STILL, flip_up_down=1.0).apply(x, rng())
    torch.testing.assert_close(flipped, x.flip(2), rtol=0, atol=1e-5)


def test_transpose_exchanges_equal_sides_only() -> None:
    x, oblong = images(7, 7), images(6, 10)
    settings = Augmentation(**STILL, transpose=1.0)
    torch.testing.assert_close(settings.apply(x, rng()), x.transpose(2, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(settings.apply(oblong, rng()), oblong, rtol=0, atol=1e-5)


def test_flips_and_transpose_give_all_eight_symmetries() -> None:
    x = images(5, 5, channels=1, count=1)
    turns = [torch.rot90(y, quarters, (2, 3)) for y in (x, x.flip(3)) for quarters in range(4)]
    augmented = Augmentation(**STILL, flip=0.5, flip_up_down=0.5, transpose=0.5).apply(x.expand(400, -1, -1, -1), rng())
    close = (augmented - torch.cat(turns)[:, None, 0, None]).abs().flatten(2).amax(2) < 1e-4
    assert (close.sum(0) == 1).all()
    assert (close.sum(1) > 25).all()  # 50 of each; a binomial is below 25 with a probability of 1e-5


@pytest.mark.parametrize(("padding", "mode"), [("zeros", "constant"), ("border", "replicate")])
def test_padded_crop_shifts_by_whole_positions(padding: str, mode: str) -> None:
    x = images(6, 9, count=1)
    padded = F.pad(x, (2, 2, 2, 2), mode=mode)
    crops = torch.cat([padded[:, :, top : top + 6, left : left + 9] for top in range(5) for left in range(5)])
    augmented = Augmentation(**STILL, pad=2, padding_mode=padding).apply(x.expand(1000, -1, -1, -1), rng())
    close = (augmented[None] - crops[:, None]).abs().flatten(2).amax(2) < 1e-4
    assert (close.sum(0) == 1).all()
    assert (close.sum(1) > 15).all()  # 40 of each


def test_padded_crop_of_a_sequence() -> None:
    x = torch.zeros(200, 1, 21)
    x[:, :, 10] = 1
    moved = Augmentation(**STILL, pad=3).apply(x, rng())
    assert (moved.sum((0, 1)) > 0.5).nonzero().flatten().tolist() == list(range(7, 14))


@pytest.mark.parametrize("shape", [(2, 9, 9), (2, 30), (2, 3, 9, 9)])
def test_border_padding_repeats_the_edge(shape: tuple[int, ...]) -> None:
    x = torch.full((10, *shape), 0.7)
    fields = {**GEOMETRY, "scale": (0.4, 0.6), "pad": 2}
    torch.testing.assert_close(Augmentation(**fields, padding_mode="border").apply(x, rng()), x)
    assert (Augmentation(**fields).apply(x, rng()) == 0).flatten(1).any(1).all()


def test_natural_images_have_border_padding_and_no_crops() -> None:
    x = torch.full((50, 3, 9, 9), 0.7)
    settings = Augmentation(fraction=1.0, scale=(0.4, 0.6), crop=1.0)
    torch.testing.assert_close(settings.apply(x, rng(), natural=True), x)
    assert (settings.apply(x, rng()) == 0).flatten(1).any(1).all()
    zeros = settings.model_copy(update={"padding_mode": "zeros"})
    assert (zeros.apply(x, rng(), natural=True) == 0).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("fraction", "procedural", "expected"),
    [(0.8, 0.7, 1 / 3), (0.8, 0.6, 0.5), (0.8, 0.0, 0.8), (0.5, 0.7, 0), (0, 0.7, 0)],
)
def test_procedural_images_count_as_augmented(fraction: float, procedural: float, expected: float) -> None:
    """The unchanged share of a batch is 1 - fraction, if so many samples are not procedural."""
    settings = Augmentation(fraction=fraction).beside(procedural)
    assert settings.fraction == pytest.approx(expected)
    assert Augmentation(fraction=fraction).of_all.fraction == (1 if fraction else 0)


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 256), (3, 4, 8, 8), (256,)])
def test_salt_and_pepper_covers_up_to_its_share_of_positions(shape: tuple[int, ...]) -> None:
    x = torch.full((2000, *shape), 0.5)
    augmented = Augmentation(**STILL, salt_and_pepper=0.4).apply(x, rng())
    if len(shape) > 1:
        assert (augmented == augmented[:, :1]).all()
        augmented = augmented[:, 0]
    salt, pepper = ((augmented > 0.99).float().flatten(1).mean(1), (augmented == 0).float().flatten(1).mean(1))
    # Shares are uniform on [0, 0.4], half of it each.
    torch.testing.assert_close(salt.mean(), torch.tensor(0.1), atol=0.01, rtol=0)
    torch.testing.assert_close(pepper.mean(), torch.tensor(0.1), atol=0.01, rtol=0)
    torch.testing.assert_close((salt + pepper).std(), torch.tensor(0.4 / 12**0.5), atol=0.01, rtol=0)
    changed = (salt + pepper + ((augmented - 0.5).abs() < 1e-4).float().flatten(1).mean(1)).sub(1).abs()
    assert changed.max() < 1e-6


def test_gaussian_noise_comes_after_salt_and_pepper() -> None:
    x = torch.full((100, 1, 16, 16), 0.5)
    sprinkled = Augmentation(**STILL, salt_and_pepper=1.0).apply(x, rng())
    both = Augmentation(**STILL, salt_and_pepper=1.0, noise=0.1).apply(x, rng())
    assert float((both[sprinkled == 0] > 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((both - sprinkled).abs().amax()) < 0.6


@pytest.mark.parametrize("shape", [(2, 24, 40), (3, 50), (2, 6, 9, 9)])
def test_crop_leaves_a_box_on_a_blank_ground(shape: tuple[int, ...]) -> None:
    x = 0.1 + 0.9 * torch.rand(1500, *shape, generator=rng())
    augmented = Augmentation(**{**STILL, "crop": 0.5})._crop_on_blank_ground(x, rng(1))
    inside = augmented > 0
    torch.testing.assert_close(augmented[inside], x[inside], rtol=0, atol=0)
    assert (inside == inside[:, :1]).all()
    inside = inside[:, 0]
    sides = torch.stack(
        [inside.any(list({*range(1, inside.ndim)} - {axis})).sum(1) for axis in range(1, inside.ndim)], 1
    )
    assert torch.equal(inside.flatten(1).sum(1), sides.prod(1))  # the nonzero positions fill a box
    whole = (sides == torch.tensor(shape[1:])).all(1)
    assert float(whole.float().mean()) == pytest.approx(0.5, abs=0.06)
    share = (sides[~whole] / torch.tensor(shape[1:])).mean()
    assert float(share) == pytest.approx((1 - 0.1) / math.log(1 / 0.1), abs=0.03)  # the mean of a log-uniform draw
    reached = inside[~whole].any(0)
    assert all(reached.movedim(axis, 0)[end].any() for axis in range(reached.ndim) for end in (0, -1))
    vectors = torch.rand(20, 7, generator=rng())
    assert torch.equal(Augmentation(**{**STILL, "crop": 1.0}).apply(vectors, rng()), vectors)


def test_crop_is_rotated_with_its_content() -> None:
    x = torch.ones(300, 1, 33, 33)
    augmented = Augmentation(**{**STILL, "rotation": 45.0, "crop": 1.0}).apply(x, rng())
    upright = Augmentation(**{**STILL, "crop": 1.0}).apply(x, rng())
    partial = ((augmented > 0.01) & (augmented < 0.99)).flatten(1).any(1)
    assert float(partial.float().mean()) > 0.9
    assert not ((upright > 0.01) & (upright < 0.99)).any()


def test_descending_scale_is_refused() -> None:
    with pytest.raises(ValidationError, match="smallest and the largest"):
        Augmentation(scale=(2.0, 1.0))


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16), (2, 40), (9,)])
def test_intact_samples_are_neither_cropped_blended_nor_redrawn(shape: tuple[int, ...]) -> None:
    x = torch.rand(50, *shape, generator=rng(3))
    settings = {**GEOMETRY, "rotation": 20.0, "noise": 0.1}
    moved = Augmentation(**settings)
    everything = Augmentation(**{**settings, "crop": 0.5, "redraw": 1.0}, mixup=0.5)
    assert torch.equal(everything.apply(x, rng(), intact=True), moved.apply(x, rng()))
    assert not torch.equal(everything.apply(x, rng()), moved.apply(x, rng()))
