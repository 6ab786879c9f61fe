"""The verdict of one test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """The verdict of one test.

    Attributes:
        verdict: "pass"; "refused" (an error, a crash or a timeout); "wrong" (another value than the
            expected one, without an error).
        reason: why it did not pass.
    """

    verdict: str
    reason: str = ""


def summary(verdicts: Sequence[Verdict]) -> str:
    """A cell of the table: passed / refused / wrong."""
    counts = Counter(v.verdict for v in verdicts)
    return f"{counts['pass']} / {counts['refused']} / {counts['wrong']}"
