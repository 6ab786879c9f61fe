"""Limits for a student that users give with a unit, such as "25%", "60k", "200kB" and "2ms"."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from zskd_onnx.errors import UsageError

COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
SIZES = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}
DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}

UNITS = {
    "target_params": (COUNTS, "a number of parameters such as 60k"),
    "target_macs": (COUNTS, "a number of multiply-adds such as 10M"),
    "target_size": (SIZES, "a file size such as 200kB (units: B, kB, MB, GB)"),
    "target_latency": (DURATIONS, "a duration such as 2ms (units: us, ms, s)"),
}
"""Kind of limit -> its units in lower case, and what is expected."""


@dataclass(frozen=True)
class Target:
    """A limit for a student.

    Attributes:
        kind: a key of ``UNITS``.
        text: as the user wrote it.
        value: the limit in parameters, multiply-adds, bytes or seconds; where ``is_share``, as a fraction of the
            teacher's value.
        is_share: whether it was written as a percentage.
    """

    kind: str
    text: str
    value: float
    is_share: bool

    @property
    def option(self) -> str:
        """The option in messages, such as "--target-params 25%"."""
        return f"{_name(self.kind)} {self.text}"

    def limit(self, of_teacher: float) -> float:
        """The limit for a teacher with this value."""
        return self.value * of_teacher if self.is_share else self.value


def parse_target(kind: str, text: str) -> Target:
    """The limit that a text stands for.

    Args:
        kind: a key of ``UNITS``.
        text: a positive number with a unit of this kind, or a percentage below 100. The case of letters does not
            matter.

    Raises:
        UsageError: the text cannot be read.
    """
    units, example = UNITS[kind]
    match = re.fullmatch(r"(\d+\.?\d*(?:e\d+)?|\.\d+) *(%|[a-z]*)", text.strip().lower(), flags=re.ASCII)
    value = math.nan
    if match is not None and match[2] == "%":
        value = float(match[1]) / 100 if 0 < float(match[1]) < 100 else math.nan
    elif match is not None and match[2] in units:
        value = float(match[1]) * units[match[2]]
    if not 0 < value < math.inf:
        raise UsageError(f"{_name(kind)} '{text}': expected {example}, or a share of the teacher's such as 25%")
    return Target(kind, text.strip(), value, text.strip().endswith("%"))


def requested_target(student: str | None, **texts: str | float | None) -> Target | None:
    """The limit that a user gave, or None.

    Args:
        student: the user's choice of the student.
        texts: keys of ``UNITS``, and what the user wrote; None where the option is left out.

    Raises:
        UsageError: there are several limits, a student beside one, or the limit cannot be read.
    """
    present = {kind: str(text) for kind, text in texts.items() if text is not None}
    options = [_name(kind) for kind in present]
    if len(options) > 1:
        raise UsageError(f"{' and '.join(options)} exclude each other; give one of them")
    if options and student is not None:
        raise UsageError(
            f"{options[0]} and --student exclude each other: the target chooses a thinner version of the teacher; "
            "give one of them"
        )
    return next((parse_target(kind, text) for kind, text in present.items()), None)


def _name(kind: str) -> str:
    return f"--{kind.replace('_', '-')}"
