"""Random crops of a user's pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zskd_onnx.errors import UsageError
from zskd_onnx.procedural import own_pictures as module
from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.procedural.own_pictures import KEPT, read_pictures
from zskd_onnx.procedural.settings import Procedural


def rng_with(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two JPEG files and a PNG file in a subfolder: red, green and blue; and files that are no pictures."""
    home = tmp_path / "holiday"
    (home / "more").mkdir(parents=True)
    for name, colour in (("a.jpg", (255, 0, 0)), ("b.JPEG", (0, 255, 0)), ("more/c.png", (0, 0, 255))):
        Image.new("RGB", (300, 200), colour).save(home / name, "PNG" if name.endswith("png") else "JPEG", quality=95)
    (home / "notes.txt").write_text("no picture")
    return home


def test_crops_have_the_colours_of_the_pictures(folder: Path) -> None:
    read = read_pictures(folder, (3, 32, 24))
    crops = read.draw(torch.empty(300, 3, 32, 24), rng_with())
    assert crops.shape == (300, 3, 32, 24)
    assert crops.dtype == torch.float32
    means = crops.mean((2, 3))
    assert torch.allclose(means.amax(1), torch.ones(300), atol=0.02)  # JPEG loses a little
    counts = torch.bincount(means.argmax(1))
    assert counts.min() > 70
    assert read.notes == (f"{folder}: 3 of 3 pictures are cropped; they need not resemble the teacher's data",)


def test_grey_pictures_of_16_bits_keep_their_shades(tmp_path: Path) -> None:
    dark, bright = (np.full((64, 64), value, dtype=np.uint16) for value in (1000, 40000))
    Image.fromarray(np.concatenate([dark, bright])).save(tmp_path / "scan.png")
    crops = read_pictures(tmp_path, (1, 8, 8)).draw(torch.empty(200, 1, 8, 8), rng_with())
    assert abs(float(crops.amin()) - 1000 / 65535) < 0.005
    assert abs(float(crops.amax()) - 40000 / 65535) < 0.005


def test_crops_are_squares_of_all_sizes(tmp_path: Path) -> None:
    """A ramp from left to right: the difference across a crop tells its width."""
    ramp = np.tile(np.linspace(0, 255, 512, dtype=np.uint8), (256, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    read = read_pictures(tmp_path, (1, 64, 64))
    assert read.images[0].shape == (1, 256, 512)
    crops = read.draw(torch.empty(500, 1, 64, 64), rng_with())
    across = (crops[..., -1] - crops[..., 0]).mean((1, 2))
    assert 0.4 < float((across < 0).float().mean()) < 0.6  # half of them are mirrored
    widths = across.abs() * 512 * 64 / 63
    assert float(widths.amin()) < 0.3 * 256
    assert float(widths.amax()) == pytest.approx(256, rel=0.05)


def test_large_pictures_are_reduced(folder: Path) -> None:
    read = read_pictures(folder, (3, 8, 8))
    assert all(min(image.shape[1:]) == KEPT * 8 for image in read.images)


def test_small_pictures_are_enlarged(tmp_path: Path) -> None:
    Image.new("L", (5, 4), 128).save(tmp_path / "tiny.png")
    crops = read_pictures(tmp_path, (1, 32, 32)).draw(torch.empty(4, 1, 32, 32), rng_with())
    assert torch.allclose(crops, torch.full_like(crops, 128 / 255))


def test_colour_pictures_serve_grey_teachers(folder: Path) -> None:
    assert all(image.shape[0] == 1 for image in read_pictures(folder, (1, 32, 32)).images)


def test_the_same_rng_draws_the_same(folder: Path) -> None:
    read, like = read_pictures(folder, (3, 32, 32)), torch.empty(20, 3, 32, 32)
    assert torch.equal(read.draw(like, rng_with(1)), read.draw(like, rng_with(1)))
    assert not torch.equal(read.draw(like, rng_with(1)), read.draw(like, rng_with(2)))


def test_damaged_and_foreign_files_are_left_out(folder: Path) -> None:
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:200])
    Image.new("RGB", (20, 20)).save(folder / "bitmap.png", "BMP")  # another format behind the name
    read = read_pictures(folder, (3, 32, 32))
    assert len(read.images) == 3
    assert read.notes[1].endswith("2 files are damaged, too large or no JPEG or PNG, and are left out")


def test_a_picture_of_many_pixels_is_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (400, 400)).save(folder / "many.png")
    monkeypatch.setattr(module, "MOST_PIXELS", 300 * 200)
    assert len(read_pictures(folder, (3, 32, 32)).images) == 3


def test_memory_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", 1)
    assert len(read_pictures(folder, (3, 32, 32)).images) == 1


def test_the_digest_depends_on_the_pixels(folder: Path) -> None:
    first = read_pictures(folder, (3, 32, 32)).digest
    assert read_pictures(folder, (3, 32, 32)).digest == first
    Image.new("RGB", (300, 200), (1, 2, 3)).save(folder / "more" / "c.png")
    assert read_pictures(folder, (3, 32, 32)).digest != first


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("missing", (3, 32, 32), "no such folder; expected a folder with pictures, JPEG or PNG"),
        ("empty", (3, 32, 32), "has no pictures; expected files named .jpg, .jpeg, .png"),
        ("faulty", (3, 32, 32), "none of 1 pictures can be read; expected JPEG or PNG files"),
        ("empty", (64,), "pictures need a teacher of images with 1 or 3 channels; leave --pictures out"),
        ("empty", (5, 32, 32), "pictures need a teacher of images with 1 or 3 channels; leave --pictures out"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, name: str, shape: tuple[int, ...], message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "faulty").mkdir()
    (tmp_path / "faulty" / "a.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=message):
        read_pictures(tmp_path / name, shape)


def test_drawn_images_are_partly_crops(folder: Path) -> None:
    settings = Procedural(level_lines=1.0, natural_images=False, pictures=0.25)
    drawn = DrawnImages(settings, (3, 32, 32), read_pictures(folder, (3, 32, 32)))
    images = drawn.draw(40, rng_with())
    crops = (images.std((2, 3)) < 0.02).all(1) & (images.amax((1, 2, 3)) > 0.9)  # level lines are not of one colour
    assert crops.tolist() == [False] * 30 + [True] * 10
    assert torch.equal(
        DrawnImages(settings, (3, 32, 32)).draw(40, rng_with()), settings.draw(40, (3, 32, 32), rng_with())
    )
