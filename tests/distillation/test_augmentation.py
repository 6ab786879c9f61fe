"""Augmentation against pictures whose answer is known."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from zskd_onnx.distillation import Augmentation

STILL = {"fraction": 1.0, "rotation": 0.0, "scale": (1.0, 1.0), "shift": 0.0}


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
    settings = Augmentation(fraction=1.0, rotation=90.0, scale=(0.5, 0.5), shift=0.5, flip=1.0)
    assert torch.equal(settings.apply(x, generator()), x)
    noisy = Augmentation(fraction=1.0, noise=0.1).apply(x, generator())
    assert noisy.shape == x.shape
    assert not torch.equal(noisy, x)


def test_mixup_blends_two_of_the_batch() -> None:
    x = torch.eye(8)
    mixed = Augmentation(fraction=1.0, mixup=1.0).apply(x, generator())
    torch.testing.assert_close(mixed.sum(1), torch.ones(8))
    assert ((mixed > 0).sum(1) <= 2).all()
    assert ((mixed > 0).sum(1) == 2).any()


def test_the_same_generator_gives_the_same_batch() -> None:
    x, settings = pictures(), Augmentation(fraction=1.0, noise=0.2, mixup=0.5, flip=0.5)
    assert torch.equal(settings.apply(x, generator(3)), settings.apply(x, generator(3)))
    assert not torch.equal(settings.apply(x, generator(3)), settings.apply(x, generator(4)))


def test_samples_are_changed_differently() -> None:
    x = pictures(count=1).expand(4, -1, -1, -1)
    seen = Augmentation(fraction=1.0).apply(x, generator())
    assert not any(torch.allclose(seen[0], other) for other in seen[1:])


@pytest.mark.parametrize(
    "fields",
    [{"fraction": 1.1}, {"rotation": -1}, {"scale": (0.0, 1.0)}, {"noise": -1}, {"tilt": 3}],
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
    moved = Augmentation(fraction=1.0).apply(x, generator())
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
    torch.testing.assert_close(Augmentation(**STILL, redraw=1.0).apply(images, generator()), images, rtol=0, atol=1e-5)
