"""Labels in the forms that data sets have."""

from __future__ import annotations

import numpy as np
import pytest

from zskd_onnx.data.labels import class_numbers
from zskd_onnx.errors import UsageError

NAMES = ("cat", "Dog", "bird")


@pytest.mark.parametrize(
    "y",
    [
        np.array([2, 0, 1, 1]),
        np.array([2, 0, 1, 1], np.uint8),
        np.array([2.0, 0.0, 1.0, 1.0], np.float32),
        np.array([[2], [0], [1], [1]]),
        np.eye(3)[[2, 0, 1, 1]],
        np.eye(3, dtype=bool)[[2, 0, 1, 1]],
        np.array(["bird", "cat", "Dog", "Dog"]),
        np.array([b"bird", b"cat", b"Dog", b"Dog"]),
        np.array([" BIRD", "Cat", "dog", "Dog"]),
    ],
    ids=["int", "uint8", "float", "column", "one-hot", "bool", "names", "bytes", "other case"],
)
def test_forms(y: np.ndarray) -> None:
    numbers = class_numbers(y, 4, 3, NAMES, "d.npz")
    assert numbers.dtype == np.int64
    assert numbers.tolist() == [2, 0, 1, 1]


def test_numbers_that_name_classes() -> None:
    """A classifier of the digits 3, 5 and 7."""
    assert class_numbers(np.array([7, 3, 5, 7]), 4, 3, ("3", "5", "7"), "d.npz").tolist() == [2, 0, 1, 2]
    assert class_numbers(np.array([2, 0, 1, 2]), 4, 3, ("3", "5", "7"), "d.npz").tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize(
    ("y", "names", "message"),
    [
        (np.array([1, 2, 3, 3]), NAMES, "classes 1 to 3, the teacher has 0 to 2; subtract 1"),
        (np.array([0.5, 1, 1, 1]), NAMES, r"values such as 0\.5, expected class numbers"),
        (np.array([np.nan, 1, 1, 1]), NAMES, "values such as nan"),
        (np.full((4, 3), 1 / 3), NAMES, "3 numbers a sample; expected zeros with a single one"),
        (np.array(["cat", "cow", "cat", "cat"]), NAMES, "names 'cow', which is no class .* cat, Dog, bird"),
        (np.array(["cat"] * 4), None, "names such as 'cat', and the teacher's file names no classes"),
        (np.zeros((4, 2)), NAMES, r"shape \(4, 2\)"),
        (np.zeros(3), NAMES, "expected 4 class numbers or names"),
    ],
)
def test_faulty_labels(y: np.ndarray, names: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        class_numbers(y, 4, 3, names, "d.npz")
