"""Samples in the file formats of other tools."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import atomic_write
from zskd_onnx.system.rows import Rows, parts
from zskd_onnx.teacher.signature.domain import Domain

PART = 256
"""Samples that are converted together."""

PNG_CHANNELS = (1, 3)


@dataclass(frozen=True)
class StoredInputs:
    """Samples for a classifier's file.

    Attributes:
        domain: gives name, layout, range and type of the file's input.
        inputs: (N, *shape) in the unit space; they may be on disk.
        classes: class numbers (N,) that the classifier predicts.
    """

    domain: Domain
    inputs: Rows
    classes: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all samples in the file's layout."""
        return self.domain.file_shape(len(self.inputs))

    def parts(self) -> Iterator[np.ndarray]:
        """The samples as the file takes them, in parts."""
        for part in parts(self.inputs, PART):
            yield self.domain.to_array(self.domain.to_file(part.float()))


def check_format(name: str, domain: Domain) -> None:
    """Raise UsageError where samples of a domain cannot be written in a format of ``WRITERS``."""
    if name == "png" and not (domain.is_image and domain.shape[0] in PNG_CHANNELS):
        raise UsageError(
            f"--to png: samples have the shape {domain.shape}, expected images of one or three channels; take npz or npy"
        )


def write_samples(name: str, samples: StoredInputs, folder: Path) -> Path:
    """Write samples to a file or folder of ``folder``, which appears when it is complete.

    Args:
        name: a format of ``WRITERS``.
    """
    return WRITERS[name](samples, folder)


def _write_npy(samples: StoredInputs, folder: Path) -> Path:
    """``samples.npy``, one array."""
    path = folder / "samples.npy"
    with atomic_write(path) as partial, partial.open("wb") as file:
        _write_array(samples, file)
    return path


def _write_npz(samples: StoredInputs, folder: Path) -> Path:
    """``samples.npz`` with one array, which has the name of the file's input."""
    path = folder / "samples.npz"
    with atomic_write(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        # The date of an entry is fixed, so that the same samples make the same file.
        entry = zipfile.ZipInfo(f"{samples.domain.name}.npy")
        with archive.open(entry, "w", force_zip64=True) as file:
            _write_array(samples, file)
    return path


def _write_array(samples: StoredInputs, file: IO[bytes]) -> None:
    """The .npy format."""
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(samples.domain.dtype)),
        "fortran_order": False,
        "shape": samples.shape,
    }
    np.lib.format.write_array_header_1_0(file, header)
    _write_values(samples, file)


def _write_safetensors(samples: StoredInputs, folder: Path) -> Path:
    """``samples.safetensors`` with one tensor, which has the name of the file's input."""
    dtype = np.dtype(samples.domain.dtype)
    entry = {
        "dtype": f"{dtype.kind.upper()}{8 * dtype.itemsize}",
        "shape": samples.shape,
        "data_offsets": [0, prod(samples.shape) * dtype.itemsize],
    }
    header = json.dumps({samples.domain.name: entry}, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    path = folder / "samples.safetensors"
    with atomic_write(path) as partial, partial.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        _write_values(samples, file)
    return path


def _write_values(samples: StoredInputs, file: IO[bytes]) -> None:
    """The values in C order, part by part: all samples may need more memory than there is."""
    for part in samples.parts():
        file.write(np.ascontiguousarray(part).tobytes())


def _write_png(samples: StoredInputs, folder: Path) -> Path:
    """``png/CLASS/NUMBER.png``: pixels from 0 to 255, in a folder for each predicted class."""
    path, partial = folder / "png", folder / ".png.partial"
    shutil.rmtree(partial, ignore_errors=True)
    inputs = chain.from_iterable(parts(samples.inputs, PART))
    for number, (sample, predicted) in enumerate(zip(inputs, samples.classes, strict=True)):
        place = partial / str(predicted)
        place.mkdir(parents=True, exist_ok=True)
        pixels = (sample.float().clamp(0, 1) * 255).round().byte().numpy().transpose(1, 2, 0)
        Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(place / f"{number:06d}.png")
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)
    return path


WRITERS: dict[str, Callable[[StoredInputs, Path], Path]] = {
    "npz": _write_npz,
    "npy": _write_npy,
    "png": _write_png,
    "safetensors": _write_safetensors,
}
"""Format -> what writes it."""
