"""Which arrays of a file are samples and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zskd_onnx.data.arrays import ArrayNames, find_arrays, read_array
from zskd_onnx.errors import UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.npz"


def names(path: Path, *arrays: str) -> ArrayNames:
    np.savez(path, **{name: np.zeros(3) for name in arrays})
    return find_arrays(path)


@pytest.mark.parametrize(
    ("arrays", "x", "y"),
    [
        (("x", "y"), "x", "y"),
        (("x",), "x", None),
        (("images", "labels"), "images", "labels"),
        (("X", "Y", "weights"), "X", "Y"),
        (("data", "target"), "data", "target"),
        (("x", "images", "y", "labels"), "x", "y"),  # the usual names come first
    ],
)
def test_names(path: Path, arrays: tuple[str, ...], x: str, y: str | None) -> None:
    assert names(path, *arrays) == ArrayNames(x, y)


def test_ambiguous_and_unknown_names(path: Path) -> None:
    with pytest.raises(UsageError, match="samples may be array images or data; name the right one x"):
        names(path, "images", "data")
    with pytest.raises(UsageError, match="labels may be array labels or targets"):
        names(path, "x", "labels", "targets")
    with pytest.raises(UsageError, match=r"has the arrays x_train, y_train; expected .*np\.savez"):
        names(path, "x_train", "y_train")
    names(path, "x", "z")
    with pytest.raises(UsageError, match="has no labels y, but the arrays x, z"):
        find_arrays(path, labels=True)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"1,2,3\n4,5,6\n", "is a text file"),
        (b"\x00\xff" * 99, "is no .npz"),
        (b"PK\x03\x04x", "damaged"),
    ],
)
def test_other_files(path: Path, content: bytes, what: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"{what}.*; expected an \.npz with samples x and labels y"):
        find_arrays(path)


def test_an_array_without_a_name(path: Path) -> None:
    np.save(path.with_suffix(".npy"), np.zeros(3))
    with pytest.raises(UsageError, match=r"is an \.npy file"):
        find_arrays(path.with_suffix(".npy"))


def test_objects_are_refused(path: Path) -> None:
    np.savez(path, x=np.zeros(2), y=np.array(["cat", "dog"], dtype=object))
    with pytest.raises(UsageError, match=r"array y holds Python objects.*np\.array\(names, dtype=str\)"):
        read_array(path, "y")
