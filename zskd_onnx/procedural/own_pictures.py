"""Random crops of a user's pictures, which need not resemble the teacher's training data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import expect_folder
from zskd_onnx.system.threads import map_in_order

SUFFIXES = (".jpg", ".jpeg", ".png")
FORMATS = ("JPEG", "PNG")
MODES = {1: "L", 3: "RGB"}
"""Number of channels -> how pictures are read."""

MOST_FILES, MOST_PICTURES = 100_000, 2000
"""Most files that a folder is searched for, and most pictures that are read, evenly spaced among them."""

MOST_PIXELS = 10**8
"""A picture with more pixels is left out before it is decoded."""

MEMORY = 2**29
"""Largest size of all pictures in memory, bytes."""

KEPT = 4
"""Shorter side of a picture in memory, relative to the longer side of a sample: larger pictures are reduced."""

SMALLEST_CROP = 0.25
"""Smallest side of a crop, relative to the largest that fits into the picture."""


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory.

    Attributes:
        images: (C, H, W) each, uint8, on the CPU.
        notes: what was read and what was left out.
    """

    images: tuple[Tensor, ...]
    notes: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pixels."""
        content = hashlib.sha256()
        for image in self.images:
            content.update(str(tuple(image.shape)).encode())
            content.update(image.numpy().data)
        return content.hexdigest()

    def draw(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Random crops (N, C, H, W) in [0, 1], half of them mirrored.

        Args:
            like: a tensor with the shape and the device of the result.
            rng: random generator on the same device.
        """
        crops = []
        sides = like.shape[2:]
        for which, share, *place, mirror in torch.rand((len(like), 5), generator=rng, device=rng.device).tolist():
            image = self.images[int(which * len(self.images))]
            largest = min(length / side for length, side in zip(image.shape[1:], sides, strict=True))
            scale = largest * SMALLEST_CROP ** (1 - share)
            size = [
                max(1, min(length, round(scale * side))) for length, side in zip(image.shape[1:], sides, strict=True)
            ]
            row, column = (int(p * (length - s + 1)) for p, length, s in zip(place, image.shape[1:], size, strict=True))
            crop = image[None, :, row : row + size[0], column : column + size[1]].float()
            crop = F.interpolate(crop, sides, mode="bilinear", antialias=True)
            crops.append(crop.flip(3) if mirror < 0.5 else crop)
        return (torch.cat(crops) / 255).clamp(0, 1).to(like.device)


def read_pictures(folder: Path, shape: tuple[int, ...]) -> Pictures:
    """The pictures of a folder and its subfolders, in grey or colour as the samples are.

    Args:
        shape: of one sample, (C, H, W).

    Raises:
        UsageError: no such folder, no picture that can be read, or samples that are no images of 1 or 3 channels.
    """
    if len(shape) != 3 or shape[0] not in MODES:
        raise UsageError(f"{folder}: pictures need a teacher of images with 1 or 3 channels; leave --pictures out")
    found = picture_files(folder)
    chosen = (
        [found[i * len(found) // MOST_PICTURES] for i in range(MOST_PICTURES)] if len(found) > MOST_PICTURES else found
    )
    side = max(shape[1:])
    images: list[Tensor] = []
    size = faulty = 0
    for image in map_in_order(lambda path: _read(path, MODES[shape[0]], KEPT * side), chosen, torch.get_num_threads()):
        if image is None:
            faulty += 1
        else:
            images.append(image)
            size += image.numel()
        if size > MEMORY:
            break
    if not images:
        raise UsageError(f"{folder}: none of {len(chosen)} pictures can be read; expected JPEG or PNG files")
    notes = [
        f"{folder}: {len(images):,} of {len(found):,} pictures are cropped; they need not resemble the teacher's data"
    ]
    if faulty:
        notes.append(f"{folder}: {faulty:,} files are damaged, too large or no JPEG or PNG, and are left out")
    return Pictures(tuple(images), tuple(notes))


def picture_files(folder: Path) -> list[Path]:
    """The files of a folder and its subfolders that are pictures by their names, in order.

    Raises:
        UsageError: no such folder, or none of its files is a picture.
    """
    expect_folder(folder, "pictures, JPEG or PNG")
    files = sorted(_walk(folder))
    if not files:
        raise UsageError(f"{folder}: has no pictures; expected files named {', '.join(SUFFIXES)}")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    count = 0
    for parent, folders, names in os.walk(folder):
        folders.sort()  # so that the limit cuts off the same files everywhere
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES):
                yield Path(parent, name)
                count += 1
                if count == MOST_FILES:
                    return


def _read(path: Path, mode: str, side: int) -> Tensor | None:
    """A picture (C, H, W) whose shorter side is at most ``side``, or None if it cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            if not 0 < width * height <= MOST_PIXELS:
                return None
            factor = min(1.0, side / min(width, height))
            reduced = (max(1, round(width * factor)), max(1, round(height * factor)))
            picture.draft(mode, reduced)
            array = np.asarray(_eight_bits(picture).convert(mode).resize(reduced, Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    return torch.from_numpy(array.reshape(*array.shape[:2], -1).copy()).movedim(2, 0).contiguous()


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The picture with 8 bits a value; Pillow would clip 16-bit grey values at 255."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
