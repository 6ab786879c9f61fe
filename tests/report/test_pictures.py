"""Images of the output folder, compared pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zskd_onnx.report.pictures import CELL, GRID, TITLE, draw_samples, thumbnail

KIND = "synthesised samples"


def read(path: Path, width: int = CELL) -> np.ndarray:
    """The grid without its title and the names on its left; cells have this width."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))[TITLE:, -GRID * width :]


def test_the_grid_has_a_row_per_class(tmp_path: Path) -> None:
    """Sample i has the grey value i / 10 and is in the row of its class."""
    inputs = (torch.arange(6) / 10).view(6, 1, 1, 1).expand(6, 1, 8, 8)
    labels = torch.tensor([0, 2, 2, 0, 1, 0])
    draw_samples(inputs.half(), labels, list("abc"), KIND, tmp_path / "grid.png")
    pixels = read(tmp_path / "grid.png")
    for row, samples in enumerate([[0, 3, 5], [4], [1, 2]]):
        for column, sample in enumerate(samples):
            centre = pixels[row * CELL + 20, column * CELL + 20]
            assert centre.tolist() == pytest.approx([25.5 * sample] * 3, abs=1)
    assert pixels[20, 3 * CELL + 20].tolist() == [255] * 3


def test_colours_are_preserved(tmp_path: Path) -> None:
    inputs = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    draw_samples(inputs, torch.tensor([0]), ["a", "b"], KIND, tmp_path / "grid.png")
    assert read(tmp_path / "grid.png")[20, 20].tolist() == pytest.approx([255, 128, 0], abs=1)


@pytest.mark.parametrize("shape", [(7,), (2, 8, 8), (4, 8, 8)])
def test_samples_of_any_shape_can_be_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    draw_samples(torch.rand(5, *shape), torch.arange(5), list("abcde"), KIND, tmp_path / "grid.png")
    assert read(tmp_path / "grid.png").shape == (5 * CELL, 10 * CELL, 3)


@pytest.mark.parametrize(
    ("shape", "height", "width"), [((1, 8, 16), 1, 2), ((3, 9, 6), 1.5, 1), ((1, 4, 100), 1, 4), ((1, 3, 16, 8), 2, 1)]
)
def test_images_keep_their_proportions(shape: tuple[int, ...], height: float, width: float, tmp_path: Path) -> None:
    """Up to four to one. A volume has the proportions of its slices."""
    draw_samples(torch.rand(2, *shape), torch.arange(2), ["a", "b"], KIND, tmp_path / "grid.png")
    assert read(tmp_path / "grid.png", CELL * width).shape == (2 * CELL * height, 10 * CELL * width, 3)


def test_title_and_names_stand_beside_the_grid(tmp_path: Path) -> None:
    """Names from a file of unknown origin, too; a long one is cut."""
    path = tmp_path / "grid.png"
    for names in (["a", "b"], ["a\n\x00", "b" * 1000], ["\ud800", "猫"]):
        draw_samples(torch.ones(2, 1, 8, 8), torch.arange(2), names, KIND, path)
        picture = np.asarray(Image.open(path).convert("L"))
        assert picture.shape[1] < 10 * CELL + 200
        assert (picture[:TITLE] < 128).any()
        assert (picture[TITLE:, : -GRID * CELL] < 128).any()


def test_thumbnails_are_small_and_keep_their_grey_values() -> None:
    assert thumbnail(torch.full((1, 8, 8), 0.5)).shape == (8, 8, 3)
    large = torch.zeros(3, 200, 100)
    large[0] = 1
    picture = thumbnail(large)
    assert picture.shape == (64, 64, 3)
    assert (picture == np.array([255, 0, 0])).all()
    for shape in ((7,), (2, 1000), (2, 5, 8, 8)):
        assert max(thumbnail(torch.rand(shape)).shape) <= 64
