"""A small run on files that ship with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from zskd_onnx.events import Listener, silent
from zskd_onnx.pipeline.compress import compress
from zskd_onnx.pipeline.result import CompressionResult

TEACHER = "digits_teacher.onnx"
TEST_SET = "digits_test.npz"
QUICK = ("synthesis.count=12000",)
"""Images of 64 pixels need fewer impressions than the recipe makes."""


def demo(
    output: Path, *, seed: int | None = None, device: str = "auto", listener: Listener = silent
) -> CompressionResult:
    """Compress the bundled teacher of 8x8 digits, and score the student on 450 real digits."""
    assets = resources.files("zskd_onnx.assets")
    with (
        resources.as_file(assets / TEACHER) as teacher,
        resources.as_file(assets / TEST_SET) as test_set,
    ):
        return compress(
            teacher,
            output,
            overrides=QUICK,
            seed=seed,
            device=device,
            eval_data=test_set,
            overwrite=True,
            listener=listener,
        )


def held_out_digits() -> tuple[np.ndarray, np.ndarray]:
    """Every fourth of scikit-learn's digits: (450, 1, 8, 8) float32 from 0 to 16, and class numbers (450,).

    The teacher was trained on the others, see ``assets/make_digits_teacher.py``.
    """
    with (resources.files("zskd_onnx.assets") / TEST_SET).open("rb") as file, np.load(file) as arrays:
        return arrays["x"], arrays["y"]
