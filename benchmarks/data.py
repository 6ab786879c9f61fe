"""Real data for the benchmarks, from the folder of ``--data`` or the environment variable ``ZSKD_DATA``.

The folder holds each data set as ``NAME.npz`` or in the format of its authors, see the function of
the set. For example, ``mnist.npz`` has the arrays ``x_train`` (60000, 28, 28) uint8, ``y_train``
(60000,), ``x_test`` and ``y_test``. Data sets are never committed.
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
"""x_train, y_train, x_test, y_test: images in uint8, labels in int64."""


class NoData(SystemExit):
    """A data set is not in the folder; the message names the expected files."""


ENLARGED = "mnist-enlarged"
"""MNIST enlarged bilinearly to 32x32 instead of padded, as an independent implementation of ZSKD has it."""


def data_folder(option: Path | None) -> Path:
    """The folder of data sets, or an exit with a message.

    Args:
        option: value of ``--data``.
    """
    folder = option or (Path(os.environ["ZSKD_DATA"]) if "ZSKD_DATA" in os.environ else None)
    if folder is None or not folder.is_dir():
        sys.exit("benchmarks need real data: set --data or ZSKD_DATA to the folder with the data sets")
    return folder


def mnist(folder: Path, name: str = "mnist") -> Images:
    """MNIST, or another set in its format: images (N, 32, 32) for LeNet-5, padded with zeros or enlarged.

    The files are ``NAME.npz``, or the four published files ``NAME/*-ubyte.gz``.

    Args:
        name: "mnist", ``ENLARGED`` or "fashion-mnist".

    Raises:
        NoData: the folder has neither.
    """
    enlarged = name == ENLARGED
    name = "mnist" if enlarged else name
    x_train, y_train, x_test, y_test = _npz(folder, name) or _idx(folder / name)
    if enlarged:
        return _enlarge(x_train), y_train, _enlarge(x_test), y_test
    padded = [np.pad(x, ((0, 0), (2, 2), (2, 2))) for x in (x_train, x_test)]
    return padded[0], y_train, padded[1], y_test


def _enlarge(images: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(x).resize((32, 32), Image.Resampling.BILINEAR)) for x in images])


def svhn(folder: Path) -> Images:
    """SVHN's cropped digits: images (N, 32, 32, 3).

    The files are ``svhn.npz``, or the published ``svhn/train_32x32.mat`` and ``svhn/test_32x32.mat``.

    Raises:
        NoData: the folder has neither.
    """
    return _npz(folder, "svhn") or _matlab(folder / "svhn")


def _npz(folder: Path, name: str) -> Images | None:
    """The arrays of ``NAME.npz``, or None if there is no such file."""
    if not (folder / f"{name}.npz").is_file():
        return None
    with np.load(folder / f"{name}.npz") as file:
        x_train, y_train, x_test, y_test = (file[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    return x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64)


def _idx(folder: Path) -> Images:
    """MNIST's own format: a header of big-endian int32, then bytes."""
    arrays = []
    for part in ("train", "t10k"):
        for kind, header in (("images-idx3", 16), ("labels-idx1", 8)):
            path = folder / f"{part}-{kind}-ubyte.gz"
            if not path.is_file():
                raise NoData(f"{folder}.npz or {path}: no such file")
            content = gzip.decompress(path.read_bytes())
            shape = np.frombuffer(content, ">i4", count=header // 4 - 1, offset=4)
            arrays.append(np.frombuffer(content, np.uint8, offset=header).reshape(shape))
    return arrays[0], arrays[1].astype(np.int64), arrays[2], arrays[3].astype(np.int64)


def _matlab(folder: Path) -> Images:
    """Matlab files with ``X`` (32, 32, 3, N) and ``y`` (N, 1), with 10 for the digit 0."""
    from scipy.io import loadmat

    arrays = []
    for part in ("train", "test"):
        path = folder / f"{part}_32x32.mat"
        if not path.is_file():
            raise NoData(f"{folder}.npz or {path}: no such file")
        content = loadmat(path)
        arrays += [content["X"].transpose(3, 0, 1, 2).copy(), content["y"].ravel().astype(np.int64) % 10]
    return arrays[0], arrays[1], arrays[2], arrays[3]


def cifar10(folder: Path) -> Images:
    """CIFAR-10: images (N, 32, 32, 3).

    The file is ``cifar10.npz``, or ``cifar10-jpeg.tar.xz`` with members ``train/CLASS/NAME.jpg``
    and ``test/...``. Classes are numbered in the order of their names. JPEG costs a teacher some
    tenths of a point, so compare accuracies only within one form of the data.

    Raises:
        NoData: the folder has neither.
    """
    if (images_and_labels := _npz(folder, "cifar10")) is not None:
        return images_and_labels
    if not (folder / "cifar10-jpeg.tar.xz").is_file():
        raise NoData(f"{folder}: expected cifar10.npz or cifar10-jpeg.tar.xz")
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
