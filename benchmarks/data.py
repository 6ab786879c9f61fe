"""Real data for benchmarks, found through ``--data`` or the variable ``ZSKD_DATA``; never committed.

The folder holds ``mnist.npz`` with uint8 arrays ``x_train`` (60000, 28, 28), ``y_train``,
``x_test`` (10000, 28, 28), ``y_test``; see ``cifar10`` for that set.
"""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def data_folder(given: Path | None) -> Path:
    """The folder, or an exit with one line that says what to do."""
    folder = given or (Path(os.environ["ZSKD_DATA"]) if "ZSKD_DATA" in os.environ else None)
    if folder is None or not folder.is_dir():
        sys.exit("benchmarks need real data: set ZSKD_DATA, or give --data, to the folder that holds it")
    return folder


def mnist(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images padded with zeros to 32x32, as LeNet-5 takes them: x_train, y_train, x_test, y_test."""
    with np.load(folder / "mnist.npz") as file:
        x_train, y_train, x_test, y_test = (file[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    padded = [np.pad(x, ((0, 0), (2, 2), (2, 2))) for x in (x_train, x_test)]
    return padded[0], y_train.astype(np.int64), padded[1], y_test.astype(np.int64)


def cifar10(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """CIFAR-10 as x_train (50000, 32, 32, 3) uint8, y_train, x_test, y_test.

    Read from ``cifar10.npz``, or decoded from ``cifar10-jpeg.tar.xz`` (members
    ``train/CLASS/NAME.jpg`` and ``test/...``, classes numbered in the order of their names). JPEG
    costs a teacher some tenths of a point, so figures are compared within a run.
    """
    if (folder / "cifar10.npz").is_file():
        with np.load(folder / "cifar10.npz") as file:
            arrays = [file[key] for key in ("x_train", "y_train", "x_test", "y_test")]
        return arrays[0], arrays[1].astype(np.int64), arrays[2], arrays[3].astype(np.int64)
    if not (folder / "cifar10-jpeg.tar.xz").is_file():
        sys.exit(f"{folder}: holds neither cifar10.npz nor cifar10-jpeg.tar.xz")
    images: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[str]] = {"train": [], "test": []}
    with tarfile.open(folder / "cifar10-jpeg.tar.xz", "r|xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                part, label, _ = member.name.split("/")
                images[part].append(np.asarray(Image.open(file)))
                labels[part].append(label)
    names = sorted(set(labels["train"]))
    found = []
    for part in ("train", "test"):
        found += [np.stack(images[part]), np.array([names.index(label) for label in labels[part]], np.int64)]
    return found[0], found[1], found[2], found[3]
