"""The arrays of an .npz file: which of them holds the samples, and which the labels. No torch is needed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import expect_file

SAMPLES = ("x", "images", "X", "data")
LABELS = ("y", "labels", "label", "Y", "targets", "target")
"""Names of the arrays. The first is the usual one; another is taken where only one of them is in the file."""

EXPECTED = "expected an .npz with samples x and labels y, as np.savez('data.npz', x=x, y=y) writes it"


@dataclass(frozen=True)
class ArrayNames:
    """Names of the arrays in a file.

    Attributes:
        x: of the samples.
        y: of the labels, or None.
    """

    x: str
    y: str | None


def find_arrays(path: Path, *, labels: bool = False) -> ArrayNames:
    """The arrays of samples and labels in an .npz file; only its list of names is read.

    Args:
        labels: whether the file must have labels.

    Raises:
        UsageError: there is no such file, it is something else, or no array is surely that of the samples or labels.
    """
    expect_file(path, "an .npz with arrays x and y")
    problem = _not_npz(path)
    if problem:
        raise UsageError(f"{path}: {problem}; {EXPECTED}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            names = list(file.files)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: damaged .npz ({error}); {EXPECTED}") from error
    x = _pick(path, names, SAMPLES, "samples")
    if x is None:
        raise UsageError(f"{path}: has the arrays {', '.join(names) or 'none'}; {EXPECTED}")
    y = _pick(path, names, LABELS, "labels")
    if labels and y is None:
        raise UsageError(f"{path}: has no labels y, but the arrays {', '.join(names)}; {EXPECTED}")
    return ArrayNames(x, y)


def read_array(path: Path, name: str) -> np.ndarray:
    """An array of an .npz file.

    Raises:
        UsageError: it is damaged, or holds Python objects.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            array: np.ndarray = file[name]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise UsageError(
                f"{path}: array {name} holds Python objects, which may run code; expected numbers, or text as "
                "np.array(names, dtype=str)"
            ) from error
        raise UsageError(f"{path}: array {name} cannot be read ({error}); {EXPECTED}") from error
    return array


def _pick(path: Path, names: Sequence[str], candidates: Sequence[str], what: str) -> str | None:
    """The only candidate among the names of a file, or the first of all candidates."""
    present = [name for name in candidates if name in names]
    if len(present) > 1 and present[0] != candidates[0]:
        raise UsageError(f"{path}: {what} may be array {' or '.join(present)}; name the right one {candidates[0]}")
    return present[0] if present else None


def _not_npz(path: Path) -> str:
    """What a file is that is no .npz, or ""."""
    with path.open("rb") as file:
        begin = file.read(512)
    if begin.startswith(b"PK"):
        return ""
    if not begin:
        return "is empty"
    if begin.startswith(b"\x93NUMPY"):
        return "is an .npy file, which holds one array without a name"
    text = begin.decode("utf-8", errors="ignore")
    if len(text.encode()) >= len(begin) - 3 and (text.isprintable() or not set(text) & set(map(chr, range(9)))):
        return "is a text file"
    return "is no .npz file"
