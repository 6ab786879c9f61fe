"""Real data for benchmarks, found through ``--data`` or the variable ``ZSKD_DATA``; never committed.

The folder holds each set as ``NAME.npz``, ``mnist.npz`` for one, with arrays ``x_train`` (60000, 28, 28) uint8,
``y_train``, ``x_test`` (10000, 28, 28), ``y_test``, or as its authors publish it: see the function of the set.
"""

from __future__ import annotations

import gzip
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

Images = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""x_train, y_train, x_test, y_test: images uint8, labels int64."""


class NoData(SystemExit):
    """A set is not in the folder; the message says what was looked for."""


def data_folder(given: Path | None) -> Path:
    """The folder, or an exit with one line that says what to do."""
    folder = given or (Path(os.environ["ZSKD_DATA"]) if "ZSKD_DATA" in os.environ else None)
    if folder is None or not folder.is_dir():
        sys.exit("benchmarks need real data: set ZSKD_DATA, or give --data, to the folder that holds it")
    return folder


def mnist(folder: Path, name: str = "mnist") -> Images:
    """Images padded with zeros to 32x32, as LeNet-5 takes them, (N, 32, 32).

    Read from ``NAME.npz`` or the four files ``NAME/*-ubyte.gz`` that are published.

    Args:
        name: ``fashion-mnist`` has the same form.

    Raises:
        NoData: the folder holds neither.
    """
    x_train, y_train, x_test, y_test = _npz(folder, name) or _idx(folder / name)
    padded = [np.pad(x, ((0, 0), (2, 2), (2, 2))) for x in (x_train, x_test)]
    return padded[0], y_train, padded[1], y_test


def svhn(folder: Path) -> Images:
    """SVHN's cropped digits, images (N, 32, 32, 3).

    Read from ``svhn.npz`` or ``svhn/train_32x32.mat`` and ``svhn/test_32x32.mat``, as published.

    Raises:
        NoData: the folder holds neither.
    """
    return _npz(folder, "svhn") or _matlab(folder / "svhn")


def _npz(folder: Path, name: str) -> Images | None:
    if not (folder / f"{name}.npz").is_file():
        return None
    with np.load(folder / f"{name}.npz") as file:
        x_train, y_train, x_test, y_test = (file[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    return x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64)


def _idx(folder: Path) -> Images:
    """MNIST's own format: a header of big-endian int32, then bytes."""
    found = []
    for part in ("train", "t10k"):
        for kind, header in (("images-idx3", 16), ("labels-idx1", 8)):
            path = folder / f"{part}-{kind}-ubyte.gz"
            if not path.is_file():
                raise NoData(f"{folder}.npz and {path}: neither is there")
            content = gzip.decompress(path.read_bytes())
            shape = np.frombuffer(content, ">i4", count=header // 4 - 1, offset=4)
            found.append(np.frombuffer(content, np.uint8, offset=header).reshape(shape))
    return found[0], found[1].astype(np.int64), found[2], found[3].astype(np.int64)


def _matlab(folder: Path) -> Images:
    """Matlab files with ``X`` (32, 32, 3, N) and ``y`` (N, 1), where 10 stands for the digit 0."""
    from scipy.io import loadmat

    found = []
    for part in ("train", "test"):
        path = folder / f"{part}_32x32.mat"
        if not path.is_file():
            raise NoData(f"{folder}.npz and {path}: neither is there")
        content = loadmat(path)
        found += [content["X"].transpose(3, 0, 1, 2).copy(), content["y"].ravel().astype(np.int64) % 10]
    return found[0], found[1], found[2], found[3]


def cifar10(folder: Path) -> Images:
    """CIFAR-10, images (N, 32, 32, 3).

    Read from ``cifar10.npz``, or decoded from ``cifar10-jpeg.tar.xz`` (members
    ``train/CLASS/NAME.jpg`` and ``test/...``, classes numbered in the order of their names). JPEG
    costs a teacher some tenths of a point, so figures are compared within a run.

    Raises:
        NoData: the folder holds neither.
    """
    if (found := _npz(folder, "cifar10")) is not None:
        return found
    if not (folder / "cifar10-jpeg.tar.xz").is_file():
        raise NoData(f"{folder}: holds neither cifar10.npz nor cifar10-jpeg.tar.xz")
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
    arrays = []
    for part in ("train", "test"):
        arrays += [np.stack(images[part]), np.array([names.index(label) for label in labels[part]], np.int64)]
    return arrays[0], arrays[1], arrays[2], arrays[3]
