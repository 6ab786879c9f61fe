"""Real values beside the input domain."""

from __future__ import annotations

import re

import numpy as np
import pytest

from zskd_onnx.data.value_range import check_values, usual_range
from zskd_onnx.errors import UsageError
from zskd_onnx.teacher.signature.domain import Certainty, Domain


def domain(low: float, high: float, *shape: int, certainty: Certainty = "known") -> Domain:
    layout = {1: "NF", 2: "NCL", 3: "NCHW"}[len(shape)]
    return Domain("x", "float32", layout, shape, (low,), (high,), "", "a source", certainty)


def values(low: float, high: float, *shape: int) -> np.ndarray:
    x = np.random.default_rng(0).uniform(low, high, (40, *shape)).astype(np.float32)
    x.flat[:2] = low, high
    return x


@pytest.mark.parametrize(
    ("data", "ends", "advice"),
    [
        ((0, 1), (0, 255), "from 0 to 1, a small part of the input range 0 to 255 .* --input-range 0,1,"),
        ((0, 16), (0, 255), "small part of the input range 0 to 255 .* --input-range 0,16"),
        ((-1, 1), (-128, 127), "--input-range -1,1"),
    ],
)
def test_a_corner_of_the_domain(data: tuple[float, float], ends: tuple[float, float], advice: str) -> None:
    for shape in ((1, 4, 4), (16,), (2, 8)):
        note = check_values(values(*data, *shape), domain(*ends, *shape), "d.npz")
        assert note is not None
        assert re.search(advice, note)


def test_far_outside_the_domain() -> None:
    """Images are an error, because there is no doubt; features of vectors may have outliers."""
    with pytest.raises(UsageError, match=r"from 0 to 255, the teacher takes images from 0 to 1 .*--input-range 0,255"):
        check_values(values(0, 255, 1, 4, 4), domain(0, 1, 1, 4, 4), "d.npz")
    note = check_values(values(0, 255, 16), domain(-2, 2, 16), "d.npz")
    assert note is not None
    assert "from 0 to 255, far outside the input range -2 to 2 (a source)" in note
    assert "--input-range" in note
    outliers = values(-2, 2, 16)
    outliers.flat[3] = 99
    assert check_values(outliers, domain(-2, 2, 16), "d.npz") is None


@pytest.mark.parametrize("data", [(0, 1), (-0.5, 0.5), (0.2, 0.6), (-0.4, 1.6)])
def test_values_that_fit(data: tuple[float, float]) -> None:
    assert check_values(values(*data, 1, 4, 4), domain(0, 1, 1, 4, 4), "d.npz") is None


def test_samples_that_are_all_the_same() -> None:
    note = check_values(np.zeros((9, 1, 4, 4)), domain(0, 1, 1, 4, 4), "d.npz")
    assert note == "d.npz: all values of x are 0; expected samples that differ"


def test_the_usual_range() -> None:
    assert usual_range(0, 0.99) == "0,1"
    assert usual_range(-0.9, 0.8) == "-1,1"
    assert usual_range(3, 250) == "0,255"
    assert usual_range(-2.1179, 2.64) == "-2.1,2.6"
