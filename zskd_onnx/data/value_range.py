"""Comparison of real values with the input domain."""

from __future__ import annotations

import numpy as np

from zskd_onnx.errors import UsageError
from zskd_onnx.teacher.signature.domain import Domain

CORNER = 0.1
"""Values that span less than this share of the domain lie in a corner of it."""

TAIL = 1.0
"""Percentage of the values at either end that does not count for vectors and sequences: outliers."""

VALUES = 1_000_000
"""Number of values that percentiles are taken of."""

USUAL = ((0.0, 1.0), (-1.0, 1.0), (0.0, 16.0), (0.0, 255.0), (-128.0, 127.0))
"""Ranges that teachers are trained on."""


def check_values(x: np.ndarray, domain: Domain, where: str) -> str | None:
    """A warning where all values are equal, in a corner of the domain or far outside it, otherwise None.

    Args:
        x: samples as the teacher's file takes them.
        where: the file for messages.

    Raises:
        UsageError: values are not finite, or images leave the input range by more than its width.
    """
    invalid = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))
    if len(invalid):
        raise UsageError(
            f"{where}: {len(invalid)} samples have values that are NaN, or infinite as {x.dtype}, "
            f"the first is x[{invalid[0]}]; expected finite numbers"
        )
    least, greatest = float(x.min()), float(x.max())
    if least == greatest:
        return f"{where}: all values of x are {least:g}; expected samples that differ"
    low, high = min(domain.low), max(domain.high)
    expected = f"{low:g} to {high:g} ({domain.range_source})"
    if domain.is_image and far_outside(least, greatest, domain):
        raise UsageError(
            f"{where}: x has values from {least:g} to {greatest:g}, the teacher takes images from {expected}; "
            f"scale x to that range, or set another one, such as --input-range {usual_range(least, greatest)}"
        )
    if greatest - least < CORNER * (high - low):
        return (
            f"{where}: x has values from {least:g} to {greatest:g}, a small part of the input range {expected}; if the "
            f"teacher takes such values, set --input-range {usual_range(least, greatest)}, otherwise scale x"
        )
    values = x.reshape(-1)[:: max(1, x.size // VALUES)]
    lower, upper = (float(end) for end in np.percentile(values.astype(np.float64), (TAIL, 100 - TAIL)))
    if far_outside(lower, upper, domain):
        return (
            f"{where}: x has values from {least:g} to {greatest:g}, far outside the input range {expected}, which the "
            f"synthesised samples are made in; set another one, such as --input-range {usual_range(lower, upper)}"
        )
    return None


def far_outside(least: float, greatest: float, domain: Domain) -> bool:
    """Whether values leave the input range by more than its width."""
    low, high = min(domain.low), max(domain.high)
    return least < 2 * low - high or greatest > 2 * high - low


def usual_range(least: float, greatest: float) -> str:
    """The narrowest usual range that holds the values, or their own, as ``--input-range`` takes it."""
    for low, high in USUAL:
        if low <= least and greatest <= high and greatest - least >= CORNER * (high - low):
            return f"{low:g},{high:g}"
    return f"{float(f'{least:.2g}'):g},{float(f'{greatest:.2g}'):g}"
