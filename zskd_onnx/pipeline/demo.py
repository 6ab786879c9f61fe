"""The main job on something small that ships with the package."""

from __future__ import annotations

import tempfile
from importlib import resources
from pathlib import Path

import numpy as np

from zskd_onnx.errors import MissingExtraError
from zskd_onnx.events import Listener, silent
from zskd_onnx.pipeline.compress import compress
from zskd_onnx.pipeline.result import CompressionResult

TEACHER = "digits_teacher.onnx"
HELD_OUT_EVERY = 4
QUICK = ("synthesis.count=12000",)
"""Images of 64 pixels need fewer impressions than the recipe makes."""


def demo(
    output: Path, *, seed: int | None = None, device: str = "auto", listener: Listener = silent
) -> CompressionResult:
    """Compress the bundled teacher of 8x8 digits and score the student on real ones.

    Raises:
        MissingExtraError: scikit-learn, which holds the digits, is not installed.
    """
    x, y = held_out_digits()
    with (
        tempfile.TemporaryDirectory() as scratch,
        resources.as_file(resources.files("zskd_onnx.assets") / TEACHER) as teacher,
    ):
        digits = Path(scratch) / "digits.npz"
        np.savez(digits, x=x, y=y)
        return compress(
            teacher,
            output,
            overrides=QUICK,
            seed=seed,
            device=device,
            eval_data=digits,
            overwrite=True,
            listener=listener,
        )


def held_out_digits() -> tuple[np.ndarray, np.ndarray]:
    """Every fourth of scikit-learn's digits: (450, 1, 8, 8) from 0 to 16, and their classes.

    The teacher was trained on the others (``assets/make_digits_teacher.py``).
    """
    x, y = digits()
    return x[::HELD_OUT_EVERY], y[::HELD_OUT_EVERY]


def training_digits() -> tuple[np.ndarray, np.ndarray]:
    """The other three quarters."""
    x, y = digits()
    kept = np.arange(len(x)) % HELD_OUT_EVERY != 0
    return x[kept], y[kept]


def digits() -> tuple[np.ndarray, np.ndarray]:
    """All of scikit-learn's digits: (1797, 1, 8, 8) float32 from 0 to 16, and classes (1797,)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("the demo scores on scikit-learn's digits; pip install 'zskd-onnx[demo]'") from error
    bunch = load_digits()
    return bunch.images[:, None].astype(np.float32), bunch.target.astype(np.int64)
