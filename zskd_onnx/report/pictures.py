"""Images for the output folder: a grid of samples, and the class-similarity matrix."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from zskd_onnx.system.files import atomic_write

CELL = 48
"""Side of a cell, in pixels."""

GRID = 10
"""Largest number of rows, and of samples per row."""

MAX_ASPECT = 4
"""Largest aspect ratio of a cell."""


def draw_samples(inputs: Tensor, targets: Tensor, path: Path) -> None:
    """Write a PNG grid of samples with one row per class, for the first ten classes.

    The class of a sample is the largest entry of its target. A volume is shown by its middle slice, a
    vector as a square of grey cells. A sequence has one row per channel, stretched to a square.

    Args:
        inputs: samples (N, *shape) in the unit space.
        targets: soft targets (N, K).
        path: the PNG file.
    """
    labels = targets.argmax(1)
    rows = min(targets.shape[1], GRID)
    sides = inputs.shape[-2:] if inputs.ndim > 3 else (1, 1)
    height, width = (min(MAX_ASPECT * CELL, round(CELL * side / min(sides))) for side in sides)
    canvas = Image.new("RGB", (GRID * width, rows * height), "white")
    for row in range(rows):
        for column, index in enumerate((labels == row).nonzero().flatten()[:GRID].tolist()):
            picture = _picture(inputs[index].float().numpy())
            picture = picture.resize((width - 2, height - 2), Image.Resampling.NEAREST)
            canvas.paste(picture, (column * width, row * height))
    _save(canvas, path)


def draw_similarity(similarity: Tensor, path: Path) -> None:
    """Write the class-similarity matrix as a PNG: blue is -1, white 0, red +1; large cells show the number.

    Args:
        similarity: (K, K) in [-1, 1].
        path: the PNG file.
    """
    classes = len(similarity)
    cell = max(2, min(CELL, 960 // classes))
    values = similarity.numpy()
    paleness = 1 - np.abs(values)
    red = np.where(values >= 0, 1.0, paleness)
    blue = np.where(values <= 0, 1.0, paleness)
    pixels = (np.stack([red, paleness, blue], axis=-1) * 255).round().astype(np.uint8)
    canvas = Image.fromarray(pixels).resize((classes * cell, classes * cell), Image.Resampling.NEAREST)
    if cell >= 32:
        draw = ImageDraw.Draw(canvas)
        for i in range(classes):
            for j in range(classes):
                draw.text(
                    (j * cell + cell // 2, i * cell + cell // 2), f"{values[i, j]:.2f}", fill="black", anchor="mm"
                )
    _save(canvas, path)


def _picture(sample: np.ndarray) -> Image.Image:
    """An image of one sample (*shape) in the unit space."""
    pixels = (np.clip(sample, 0, 1) * 255).round().astype(np.uint8)
    if pixels.ndim == 2:  # a sequence has one row per channel
        pixels = pixels[None]
    elif pixels.ndim == 4:  # a volume shows its middle slice
        pixels = pixels[:, pixels.shape[1] // 2]
    if pixels.ndim == 1:
        side = math.ceil(math.sqrt(len(pixels)))
        pixels = np.pad(pixels, (0, side * side - len(pixels))).reshape(1, side, side)
    if pixels.shape[0] == 3:
        return Image.fromarray(pixels.transpose(1, 2, 0)).convert("RGB")
    return Image.fromarray(pixels[0]).convert("RGB")


def _save(canvas: Image.Image, path: Path) -> None:
    with atomic_write(path) as partial:
        canvas.save(partial, format="PNG")
