"""Real samples from an .npz file, checked against a teacher's input domain."""

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
    """Real samples.

    Attributes:
        x: (N, ...) as the teacher's file takes them.
        y: (N,) class numbers.
    """

    x: np.ndarray
    y: np.ndarray


def read_evaluation_data(path: Path, domain: Domain, classes: int) -> EvaluationData:
    """Read an .npz with ``x`` and ``y``; see ``read_samples``.

    Raises:
        UsageError: no such file, no ``y``, or arrays that do not fit; the message says what was expected.
    """
    x, y = read_samples(path, domain, classes)
    if y is None:
        raise UsageError(f"{path}: holds no y; expected an .npz with arrays x and y")
    return EvaluationData(x, y)


def read_samples(path: Path, domain: Domain, classes: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Read an .npz with ``x`` and, where the classes are known, ``y``.

    Args:
        path: ``x`` holds samples as the teacher's file takes them, or uint8 images (0 to 255)
            of shape (N, H, W), (N, H, W, C) or (N, C, H, W); ``y`` holds class numbers.

    Returns:
        (N, ...) as the teacher's file takes them, and (N,) class numbers or None.

    Raises:
        UsageError: no such file, or arrays that do not fit; the message says what was expected.
    """
    expect_file(path, "an .npz with arrays x and y")
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y = file["x"], file.get("y")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: expected an .npz with arrays x and y ({error})") from error
    if not x.ndim or not len(x):
        raise UsageError(f"{path}: x has shape {x.shape}, expected one sample or more")
    samples = as_file_input(x, domain, str(path))
    _check_values(samples, domain, path)
    if y is None:
        return samples, None
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or len(y) != len(x):
        raise UsageError(f"{path}: y has shape {y.shape} and type {y.dtype}, expected {len(x)} class numbers")
    if y.min() < 0 or y.max() >= classes:
        raise UsageError(f"{path}: y holds classes {y.min()} to {y.max()}, the teacher has 0 to {classes - 1}")
    return samples, y.astype(np.int64)


def _check_values(x: np.ndarray, domain: Domain, path: Path) -> None:
    """Refuse samples (N, ...) that are not finite, and images that reach beyond the domain by more than its width."""
    bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))
    if len(bad):
        raise UsageError(
            f"{path}: x[{bad[0]}] holds NaN, or what is infinite as {x.dtype}, and {len(bad) - 1} others; expected numbers"
        )
    low, high = min(domain.low), max(domain.high)
    if domain.is_image and (x.min() < 2 * low - high or x.max() > 2 * high - low):
        raise UsageError(
            f"{path}: x holds values from {x.min():g} to {x.max():g}, the teacher takes images from {low:g} to {high:g} "
            f"({domain.range_source}); bring them to that range, or say another with --input-range"
        )


def as_file_input(x: np.ndarray, domain: Domain, where: str) -> np.ndarray:
    """Samples as the teacher's file takes them; see ``read_samples``.

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
            f"{where}: x has shape {x.shape} and type {x.dtype}, expected {expected} as the teacher takes it, or uint8 images"
        )
    with np.errstate(over="ignore"):  # whoever asks looks for infinities
        return x.astype(domain.dtype)
