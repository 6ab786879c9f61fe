"""A duration that was measured a few times, as a range."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

GROUPS = 3
"""Parts of a measurement whose means give the range: single calls vary more than what a run has of them."""

FASTER, SLOWER = 0.9, 1.2
"""Factors of the fastest and the slowest part, for what a short measurement misses."""

BUSY_SHARE = 0.3
"""Share of a processor that a run gets on average even on a busy machine. Runs beside three programs on two processors got 0.3 to 0.4."""


@dataclass(frozen=True)
class Span:
    """A duration in seconds: of the fastest part of a measurement, of the usual one, and of the slowest."""

    low: float
    usual: float
    high: float

    @classmethod
    def of(cls, durations: Sequence[float]) -> Span:
        """The duration of one call, from those of several calls in a row."""
        size = -(-len(durations) // GROUPS)
        means = [statistics.fmean(durations[first : first + size]) for first in range(0, len(durations), size)]
        return cls(min(means), statistics.fmean(durations), max(means))

    def __mul__(self, factor: float) -> Span:
        return Span(self.low * factor, self.usual * factor, self.high * factor)

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.usual + other.usual, self.high + other.high)

    def in_a_run(self, share: float) -> tuple[float, float]:
        """The range in which the duration is expected in a run that takes longer than the measurement.

        The load of a machine changes meanwhile. At best other programs end, and the run has the whole processor. At worst it gets
        half of what it got, but not less than ``BUSY_SHARE``.

        Args:
            share: of a processor that the program got, see ``processor_share``.
        """
        low = min(self.low, self.usual * share) * FASTER
        high = max(self.high * SLOWER, self.usual * share / max(share / 2, BUSY_SHARE))
        return round(low, 1), round(high, 1)


NOTHING = Span(0.0, 0.0, 0.0)
