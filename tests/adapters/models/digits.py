"""scikit-learn's handwritten digits; every fourth one is held out, as in the demo."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
"""Folder that the training scripts write to."""


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images (N, 8, 8) from 0 to 16 and classes (N,) for training, then the same held out."""
    bunch = load_digits()
    x, y = bunch.images.astype(np.float32), bunch.target.astype(np.int64)
    held_out = np.arange(len(x)) % 4 == 0
    return x[~held_out], y[~held_out], x[held_out], y[held_out]


def save(name: str, x: np.ndarray, y: np.ndarray, **facts: np.ndarray) -> None:
    """Save the arrays that the tests compare with.

    Args:
        x: held-out digits in the range and layout of the file.
        y: their classes.
        facts: ``scores`` of the framework for x; ``weight`` (K, F) and ``bias`` (K,) of its last layer.
    """
    np.savez(FOLDER / f"{name}.npz", x=x, y=y, **facts)
