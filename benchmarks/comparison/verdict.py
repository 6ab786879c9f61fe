"""What became of one test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What a test found.

    Attributes:
        verdict: "pass"; "refused" (an error, a crash, no answer in time); "wrong" (a value that is
            not the expected one).
        reason: why it is not "pass".
    """

    verdict: str
    reason: str = ""


def summary(verdicts: Sequence[Verdict]) -> str:
    """One cell of the table: passed / refused / wrong."""
    counts = Counter(v.verdict for v in verdicts)
    return f"{counts['pass']} / {counts['refused']} / {counts['wrong']}"
