"""Samples as images: a grid of them for the output folder, and single ones for a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zskd_onnx.report.shown_names import short_name
from zskd_onnx.system.files import atomic_write

CELL = 48
"""Side of a cell, in pixels."""

GRID = 10
"""Largest number of rows, and of samples per row."""

MAX_ASPECT = 4
"""Largest aspect ratio of a cell."""

TITLE, MARGIN = 30, 8
"""Height of the title, and the space around names, in pixels."""

LARGEST = 64
"""Longest side of a thumbnail, in pixels."""


def draw_samples(inputs: Tensor, labels: Tensor, names: Sequence[str], kind: str, path: Path) -> None:
    """Write a PNG grid of samples with one row per class, for the first ten classes, with a title and names.

    A volume is shown by its middle slice, a vector as a square of grey cells. A sequence has one row per channel,
    stretched to a square.

    Args:
        inputs: samples (N, *shape) in the unit space.
        labels: class numbers (N,), which the teacher predicts.
        names: K names of classes.
        kind: of the samples, such as "synthesised samples".
        path: the PNG file.
    """
    height, width = cell_size(inputs.shape[1:])
    rows = [short_name(name, 18) for name in names[:GRID]]
    title = f"{kind[:1].upper()}{kind[1:]} by the teacher's class"
    if len(names) > GRID:
        title += f", first {GRID} of {len(names):,}"
    font = ImageFont.load_default(13)
    left = 2 * MARGIN + math.ceil(max(font.getlength(name) for name in rows))
    canvas_width = max(left + GRID * width, math.ceil(font.getlength(title)) + 2 * MARGIN)
    canvas = Image.new("RGB", (canvas_width, TITLE + len(rows) * height), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, TITLE // 2), title, fill="black", font=font, anchor="lm")
    for row, name in enumerate(rows):
        top = TITLE + row * height
        draw.text((left - MARGIN, top + height // 2), name, fill="black", font=font, anchor="rm")
        for column, index in enumerate((labels == row).nonzero().flatten()[:GRID].tolist()):
            picture = _picture(inputs[index].float().numpy())
            picture = picture.resize((width - 2, height - 2), Image.Resampling.NEAREST)
            canvas.paste(picture, (left + column * width, top))
    with atomic_write(path) as partial:
        canvas.save(partial, format="PNG")


def cell_size(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width in pixels at which a sample of a shape (C, ...) is shown; its shorter side is ``CELL``."""
    sides = shape[-2:] if len(shape) > 2 else (1, 1)
    height, width = (min(MAX_ASPECT * CELL, round(CELL * side / min(sides))) for side in sides)
    return height, width


def thumbnail(sample: Tensor) -> np.ndarray:
    """A sample (*shape) in the unit space as an image (H, W, 3), uint8, with sides of at most ``LARGEST``."""
    picture = _picture(sample.float().numpy())
    height, width = (min(LARGEST, side) for side in (picture.height, picture.width))
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


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
