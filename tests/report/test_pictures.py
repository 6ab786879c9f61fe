"""Images of the output folder, compared pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zskd_onnx.report.pictures import CELL, draw_samples, draw_similarity


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def test_the_grid_has_a_row_per_class(tmp_path: Path) -> None:
    """Sample i has the grey value i / 10 and is in the row of its target."""
    inputs = (torch.arange(6) / 10).view(6, 1, 1, 1).expand(6, 1, 8, 8)
    targets = torch.eye(3)[[0, 2, 2, 0, 1, 0]]
    draw_samples(inputs.half(), targets, tmp_path / "grid.png")
    pixels = read(tmp_path / "grid.png")
    for row, samples in enumerate([[0, 3, 5], [4], [1, 2]]):
        for column, sample in enumerate(samples):
            centre = pixels[row * CELL + 20, column * CELL + 20]
            assert centre.tolist() == pytest.approx([25.5 * sample] * 3, abs=1)
    assert pixels[20, 3 * CELL + 20].tolist() == [255] * 3


def test_colours_are_preserved(tmp_path: Path) -> None:
    inputs = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    draw_samples(inputs, torch.eye(2)[:1], tmp_path / "grid.png")
    assert read(tmp_path / "grid.png")[20, 20].tolist() == pytest.approx([255, 128, 0], abs=1)


@pytest.mark.parametrize("shape", [(7,), (2, 8, 8), (4, 8, 8)])
def test_samples_of_any_shape_can_be_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    draw_samples(torch.rand(5, *shape), torch.eye(5), tmp_path / "grid.png")
    assert read(tmp_path / "grid.png").shape == (5 * CELL, 10 * CELL, 3)


@pytest.mark.parametrize(
    ("shape", "height", "width"), [((1, 8, 16), 1, 2), ((3, 9, 6), 1.5, 1), ((1, 4, 100), 1, 4), ((1, 3, 16, 8), 2, 1)]
)
def test_images_keep_their_proportions(shape: tuple[int, ...], height: float, width: float, tmp_path: Path) -> None:
    """Up to four to one. A volume has the proportions of its slices."""
    draw_samples(torch.rand(2, *shape), torch.eye(2), tmp_path / "grid.png")
    assert read(tmp_path / "grid.png").shape == (2 * CELL * height, 10 * CELL * width, 3)


@pytest.mark.parametrize("classes", [3, 100, 1000])
def test_similarity_is_shown_by_colour(tmp_path: Path, classes: int) -> None:
    similarity = torch.eye(classes, dtype=torch.float64)
    similarity[0, 1] = similarity[1, 0] = -1
    draw_similarity(similarity, tmp_path / "matrix.png")
    pixels = read(tmp_path / "matrix.png")
    cell = len(pixels) // classes
    assert pixels[1, 1].tolist() == [255, 0, 0]
    assert pixels[1, cell].tolist() == [0, 0, 255]
    assert pixels[1, -1].tolist() == [255, 255, 255]
