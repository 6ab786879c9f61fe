"""The writings of one net agree with each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.teacher.signature.writings import WRITINGS, Writing, explicit
from zskd_onnx.pipeline.demo import held_out_digits
from zskd_onnx.system.onnx_runtime import open_session, run


def logits(writing: Writing) -> np.ndarray:
    (values,) = run(open_session(writing.model.SerializeToString()), writing.digits()[0])
    return values.astype(np.float64)


def bundled(digits_file: Path) -> np.ndarray:
    (values,) = run(open_session(digits_file), held_out_digits()[0])
    return values


@pytest.mark.parametrize("name", [*WRITINGS, "explicit"])
def test_all_writings_compute_the_same(name: str, digits_file: Path) -> None:
    writing = explicit(-20, 4) if name == "explicit" else WRITINGS[name]()
    expected, values = bundled(digits_file), logits(writing)
    assert (values.argmax(1) == expected.argmax(1)).mean() >= (0.98 if name == "quantised" else 1)
    tolerance = {"half precision": 0.01, "quantised": 0.2}.get(name, 1e-4)
    assert np.abs(values - expected).mean() < tolerance
