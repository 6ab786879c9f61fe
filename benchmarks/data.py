"""Real data for benchmarks, found through ``--data`` or the variable ``ZSKD_DATA``; never committed.

The folder holds ``mnist.npz`` with uint8 arrays ``x_train`` (60000, 28, 28), ``y_train``,
``x_test`` (10000, 28, 28), ``y_test``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np


def data_folder(given: Path | None) -> Path:
    """The folder, or an exit with one line that says what to do."""
    folder = given or (Path(os.environ["ZSKD_DATA"]) if "ZSKD_DATA" in os.environ else None)
    if folder is None or not folder.is_dir():
        sys.exit("benchmarks need real data: set ZSKD_DATA, or give --data, to the folder that holds mnist.npz")
    return folder


def mnist(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images padded with zeros to 32x32, as LeNet-5 takes them: x_train, y_train, x_test, y_test."""
    with np.load(folder / "mnist.npz") as file:
        x_train, y_train, x_test, y_test = (file[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    padded = [np.pad(x, ((0, 0), (2, 2), (2, 2))) for x in (x_train, x_test)]
    return padded[0], y_train.astype(np.int64), padded[1], y_test.astype(np.int64)
