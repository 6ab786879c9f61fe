"""Pictures for the output folder: what the impressions look like, how alike the classes are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from zskd_onnx.system.files import written_beside

CELL = 48
GRID = 10
LONGEST = 4
"""How many times longer than wide a sample is drawn at most."""


def draw_samples(inputs: Tensor, targets: Tensor, path: Path) -> None:
    """A grid of samples: a row for each of the first classes, by the target's largest entry.

    Images are drawn as they are, volumes by their middle slice; vectors as a square of grey cells, sequences
    with a row for each channel, stretched to a square.

    Args:
        inputs: (N, *shape) in the unit space.
        targets: (N, K).
    """
    labels = targets.argmax(1)
    rows = min(targets.shape[1], GRID)
    sides = inputs.shape[-2:] if inputs.ndim > 3 else (1, 1)
    height, width = (min(LONGEST * CELL, round(CELL * side / min(sides))) for side in sides)
    canvas = Image.new("RGB", (GRID * width, rows * height), "white")
    for row in range(rows):
        for column, index in enumerate((labels == row).nonzero().flatten()[:GRID].tolist()):
            picture = _picture(inputs[index].float().numpy())
            picture = picture.resize((width - 2, height - 2), Image.Resampling.NEAREST)
            canvas.paste(picture, (column * width, row * height))
    _save(canvas, path)


def draw_similarity(similarity: Tensor, path: Path) -> None:
    """The class-similarity matrix: blue for -1, white for 0, red for +1; numbers where they fit.

    Args:
        similarity: (K, K) in [-1, 1].
    """
    classes = len(similarity)
    cell = max(2, min(CELL, 960 // classes))
    values = similarity.numpy()
    fade = 1 - np.abs(values)
    red = np.where(values >= 0, 1.0, fade)
    blue = np.where(values <= 0, 1.0, fade)
    pixels = (np.stack([red, fade, blue], axis=-1) * 255).round().astype(np.uint8)
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
    pixels = (np.clip(sample, 0, 1) * 255).round().astype(np.uint8)
    if pixels.ndim == 2:  # a sequence: a row for each channel
        pixels = pixels[None]
    elif pixels.ndim == 4:  # a volume: its middle slice
        pixels = pixels[:, pixels.shape[1] // 2]
    if pixels.ndim == 1:
        side = math.ceil(math.sqrt(len(pixels)))
        pixels = np.pad(pixels, (0, side * side - len(pixels))).reshape(1, side, side)
    if pixels.shape[0] == 3:
        return Image.fromarray(pixels.transpose(1, 2, 0)).convert("RGB")
    return Image.fromarray(pixels[0]).convert("RGB")


def _save(canvas: Image.Image, path: Path) -> None:
    with written_beside(path) as partial:
        canvas.save(partial, format="PNG")
