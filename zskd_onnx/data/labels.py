"""Class numbers from labels in the forms that data sets have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zskd_onnx.errors import UsageError

SHOWN = 5
"""Largest number of names in a message."""


def class_numbers(y: np.ndarray, samples: int, classes: int, names: Sequence[str] | None, where: str) -> np.ndarray:
    """Class numbers (N,), int64.

    Args:
        y: class numbers as integers or whole floats, (N,) or (N, 1); names of classes as text; or rows (N, K) of zeros
            with a single one.
        samples: N.
        classes: K.
        names: those of the teacher's classes, or None.
        where: the file for messages.

    Raises:
        UsageError: the labels are something else, or name no class of the teacher.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape == (samples, classes) and y.dtype.kind in "biuf":
        if not (np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all()):
            raise UsageError(
                f"{where}: y has {classes} numbers a sample; expected zeros with a single one, or class numbers"
            )
        return y.argmax(1).astype(np.int64)
    if y.shape != (samples,) or y.dtype.kind not in "biufUS":
        raise UsageError(
            f"{where}: y has shape {y.shape} and type {y.dtype}, expected {samples} class numbers or names of classes"
        )
    if y.dtype.kind in "US":
        return _numbers_of(y.astype(str), names, where)
    if y.dtype.kind == "f" and not (np.isfinite(y) & (y == np.trunc(y))).all():
        raise UsageError(f"{where}: y has values such as {y[y != np.trunc(y)][0]:g}, expected class numbers")
    if y.min() >= 0 and y.max() < classes:
        return y.astype(np.int64)
    if names is not None and {f"{value:.0f}" for value in np.unique(y)} <= set(names):
        return _numbers_of(np.array([f"{value:.0f}" for value in y]), names, where)
    hint = "; subtract 1 if they count from 1" if y.min() == 1 and y.max() == classes else ""
    raise UsageError(f"{where}: y has classes {y.min():.0f} to {y.max():.0f}, the teacher has 0 to {classes - 1}{hint}")


def _numbers_of(y: np.ndarray, names: Sequence[str] | None, where: str) -> np.ndarray:
    """Class numbers of names; upper case and spaces around a name do not count where names stay distinct."""
    distinct, index = np.unique(y, return_inverse=True)
    if names is None:
        raise UsageError(
            f"{where}: y has names such as '{distinct[0]}', and the teacher's file names no classes; expected class numbers"
        )
    numbers = {name: number for number, name in enumerate(names)}
    folded = {name.strip().casefold(): number for name, number in numbers.items()}
    if len(folded) == len(names):
        numbers |= {name: folded[key] for name in distinct if (key := name.strip().casefold()) in folded}
    unknown = [name for name in distinct if name not in numbers]
    if unknown:
        raise UsageError(
            f"{where}: y names '{unknown[0]}', which is no class of the teacher; its classes are "
            f"{', '.join(names[:SHOWN])}{' and others' * (len(names) > SHOWN)}"
        )
    return np.array([numbers[name] for name in distinct], dtype=np.int64)[index.reshape(-1)]
