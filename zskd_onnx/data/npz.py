"""Reading of real samples from .npz files, with checks against the teacher's input domain."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import expect_file
from zskd_onnx.teacher.signature.domain import Domain


@dataclass(frozen=True)
class EvaluationData:
    """Real samples with labels.

    Attributes:
        x: inputs (N, ...) as the teacher's file takes them.
        y: class numbers (N,).
    """

    x: np.ndarray
    y: np.ndarray


def read_evaluation_data(path: Path, domain: Domain, classes: int) -> EvaluationData:
    """Real samples with labels from an .npz file; see ``read_samples``.

    Raises:
        UsageError: see ``read_samples``, or the file has no ``y``.
    """
    x, y = read_samples(path, domain, classes)
    if y is None:
        raise UsageError(f"{path}: has no array y; expected an .npz with arrays x and y")
    return EvaluationData(x, y)


def read_samples(path: Path, domain: Domain, classes: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Real samples from an .npz file, with labels if it has any.

    Args:
        path: a file with an array ``x`` and optionally an array ``y``. ``x`` has inputs as the
            teacher's file takes them, or uint8 images (0 to 255) of shape (N, H, W), (N, H, W, C) or
            (N, C, H, W). ``y`` has class numbers (N,).
        domain: the teacher's input domain.
        classes: number of classes.

    Returns:
        Inputs (N, ...) as the teacher's file takes them, and class numbers (N,) or None.

    Raises:
        UsageError: there is no such file, or an array does not fit; the message says what was expected.
    """
    expect_file(path, "an .npz with arrays x and y")
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y = file["x"], file.get("y")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: expected an .npz with arrays x and y ({error})") from error
    if not x.ndim or not len(x):
        raise UsageError(f"{path}: x has shape {x.shape}, expected at least one sample")
    samples = as_file_input(x, domain, str(path))
    _check_values(samples, domain, path)
    if y is None:
        return samples, None
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or len(y) != len(x):
        raise UsageError(f"{path}: y has shape {y.shape} and type {y.dtype}, expected {len(x)} class numbers")
    if y.min() < 0 or y.max() >= classes:
        raise UsageError(f"{path}: y has classes {y.min()} to {y.max()}, the teacher has 0 to {classes - 1}")
    return samples, y.astype(np.int64)


def _check_values(x: np.ndarray, domain: Domain, path: Path) -> None:
    """Raise UsageError if values are not finite, or images leave the input range by more than its width."""
    invalid = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))
    if len(invalid):
        raise UsageError(
            f"{path}: {len(invalid)} samples have values that are NaN, or infinite as {x.dtype}, "
            f"the first is x[{invalid[0]}]; expected finite numbers"
        )
    low, high = min(domain.low), max(domain.high)
    if domain.is_image and (x.min() < 2 * low - high or x.max() > 2 * high - low):
        raise UsageError(
            f"{path}: x has values from {x.min():g} to {x.max():g}, the teacher takes images from {low:g} to {high:g} "
            f"({domain.range_source}); scale x to that range, or set another one with --input-range"
        )


def as_file_input(x: np.ndarray, domain: Domain, where: str) -> np.ndarray:
    """Samples converted to the input of the teacher's file; see ``read_samples``.

    Args:
        where: the file or argument that holds them, for messages.

    Raises:
        UsageError: the shape or the type does not fit.
    """
    n = len(x)
    expected = domain.file_shape(n)
    if x.dtype == np.uint8 and domain.is_image and domain.dtype != "uint8":
        channels, height, width = domain.shape
        if x.shape == (n, height, width) and channels == 1:
            unit = x[:, None]
        elif x.shape == (n, height, width, channels):
            unit = x.transpose(0, 3, 1, 2)
        elif x.shape == (n, *domain.shape):
            unit = x
        else:
            raise UsageError(
                f"{where}: x has shape {x.shape}, expected uint8 images of {height}x{width} with {channels} channels"
            )
        parts = [
            domain.to_array(domain.to_file(torch.from_numpy(part.astype(np.float32) / 255)))
            for part in np.array_split(unit, max(1, n // 1024))
        ]
        return np.concatenate(parts)
    if x.shape != expected and x.size == int(np.prod(expected)) and 1 in expected[1:]:
        x = x.reshape(expected)
    if x.shape != expected or x.dtype.kind not in "fiu":
        raise UsageError(
            f"{where}: x has shape {x.shape} and type {x.dtype}, expected shape {expected} as the teacher "
            "takes it, or uint8 images"
        )
    with np.errstate(over="ignore"):  # ``_check_values`` reports infinities
        return x.astype(domain.dtype)
