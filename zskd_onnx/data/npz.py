"""Reading of real samples from .npz files, with checks against the teacher's input domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from zskd_onnx.data.arrays import LABELS, SAMPLES, find_arrays, read_array
from zskd_onnx.data.labels import class_numbers
from zskd_onnx.data.value_range import check_values, far_outside
from zskd_onnx.errors import UsageError
from zskd_onnx.teacher.signature.domain import Domain

PIXELS = 255
"""Largest value of uint8."""


@dataclass(frozen=True)
class NpzSamples:
    """Real samples.

    Attributes:
        x: inputs (N, ...) as the teacher's file takes them.
        y: class numbers (N,), or None where the file has no labels.
        notes: how the arrays were read, and warnings.
    """

    x: np.ndarray
    y: np.ndarray | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class EvaluationData:
    """Real samples with labels.

    Attributes:
        x: inputs (N, ...) as the teacher's file takes them.
        y: class numbers (N,).
        notes: how the arrays were read, and warnings.
    """

    x: np.ndarray
    y: np.ndarray
    notes: tuple[str, ...] = ()


def read_evaluation_data(
    path: Path, domain: Domain, classes: int, names: Sequence[str] | None = None
) -> EvaluationData:
    """Real samples with labels from an .npz file; see ``read_samples``.

    Raises:
        UsageError: see ``read_samples``, or the file has no labels.
    """
    find_arrays(path, labels=True)
    samples = read_samples(path, domain, classes, names)
    assert samples.y is not None
    return EvaluationData(samples.x, samples.y, samples.notes)


def read_samples(path: Path, domain: Domain, classes: int, names: Sequence[str] | None = None) -> NpzSamples:
    """Real samples from an .npz file, with labels if it has any.

    Args:
        path: a file with an array ``x`` and optionally an array ``y``, or under other names that ``find_arrays`` knows.
            ``x`` has inputs as the teacher's file takes them, or uint8 images (0 to 255) of shape (N, H, W),
            (N, H, W, C) or (N, C, H, W). ``y`` has labels as ``class_numbers`` takes them.
        domain: the teacher's input domain.
        classes: number of classes.
        names: those of the teacher's classes, or None.

    Raises:
        UsageError: there is no such file, or an array does not fit; the message says what was expected.
    """
    arrays, notes = find_arrays(path), []
    other = [name for name, usual in ((arrays.x, SAMPLES[0]), (arrays.y, LABELS[0])) if name not in (usual, None)]
    if other:
        notes.append(f"{path}: reads samples from array {arrays.x}, labels from {arrays.y or 'none'}")
    x = read_array(path, arrays.x)
    if not x.ndim or not len(x):
        raise UsageError(f"{path}: x has shape {x.shape}, expected at least one sample")
    samples, note = as_file_input(x, domain, str(path))
    notes += [text for text in (note, check_values(samples, domain, str(path))) if text]
    y = None if arrays.y is None else read_array(path, arrays.y)
    labels = None if y is None else class_numbers(y, len(x), classes, names, str(path))
    return NpzSamples(samples, labels, tuple(notes))


def as_file_input(x: np.ndarray, domain: Domain, where: str) -> tuple[np.ndarray, str | None]:
    """Samples converted to the input of the teacher's file, see ``read_samples``, and a note on uint8 values.

    Args:
        where: the file or argument that holds them, for messages.

    Raises:
        UsageError: the shape or the type does not fit.
    """
    n = len(x)
    expected = domain.file_shape(n)
    is_bytes = x.dtype == np.uint8 and domain.dtype != "uint8"
    if is_bytes and domain.is_image:
        return _scaled(_channels_first(x, domain, where), domain), None
    if x.shape != expected and x.size == int(np.prod(expected)) and 1 in expected[1:]:
        x = x.reshape(expected)
    if x.shape != expected or x.dtype.kind not in "fiu":
        images = ", or uint8 images" if domain.is_image else ""
        raise UsageError(
            f"{where}: x has shape {x.shape} and type {x.dtype}, expected numbers of shape {expected} as the teacher "
            f"takes them{images}"
        )
    if is_bytes:
        low, high = min(domain.low), max(domain.high)
        if not domain.assumed and far_outside(float(x.min()), float(x.max()), domain):
            unit = x.transpose(0, -1, *range(1, x.ndim - 1)) if domain.channels_last else x
            text = f"uint8 values 0 to {PIXELS} of x are scaled to the input range {low:g} to {high:g}"
            return _scaled(unit, domain), f"{where}: {text} ({domain.range_source})"
        note = f"{where}: uint8 values of x are taken as they are, because the inputs are no images"
        return x.astype(domain.dtype), note
    with np.errstate(over="ignore"):  # ``check_values`` reports infinities
        return x.astype(domain.dtype), None


def _channels_first(x: np.ndarray, domain: Domain, where: str) -> np.ndarray:
    """Images (N, H, W), (N, H, W, C) or (N, C, H, W) as (N, C, H, W)."""
    channels, height, width = domain.shape
    if x.shape[1:] == (height, width) and channels == 1:
        return x[:, None]
    if x.shape[1:] == (height, width, channels):
        return x.transpose(0, 3, 1, 2)
    if x.shape[1:] == domain.shape:
        return x
    raise UsageError(
        f"{where}: x has shape {x.shape}, expected uint8 images of {height}x{width} with {channels} channels"
    )


def _scaled(x: np.ndarray, domain: Domain) -> np.ndarray:
    """Samples (N, *domain.shape) of uint8, as the teacher's file takes them: 0 is the lowest value, 255 the highest."""
    parts = [
        domain.to_array(domain.to_file(torch.from_numpy(part.astype(np.float32) / PIXELS)))
        for part in np.array_split(x, max(1, len(x) // 1024))
    ]
    return np.concatenate(parts)
