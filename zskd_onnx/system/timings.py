"""Latencies that were measured; this module loads neither torch nor onnxruntime, so that programs that print them start quickly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Latency:
    """Duration of one batch, in seconds.

    Attributes:
        median, p95: over the runs; 95 % of them took at most ``p95``.
    """

    median: float
    p95: float


@dataclass(frozen=True)
class LatencyComparison:
    """Latencies of teacher and student, measured in turns.

    Attributes:
        conditions: provider, threads and batch size, in words.
    """

    teacher: Latency
    student: Latency
    conditions: str

    @property
    def ratio(self) -> float:
        """The student's median over the teacher's."""
        return self.student.median / self.teacher.median

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``--format json``."""
        return {**asdict(self), "ratio": self.ratio}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LatencyComparison:
        """The comparison that ``to_dict`` gave.

        Raises:
            KeyError, TypeError: the content is something else.
        """
        return cls(Latency(**content["teacher"]), Latency(**content["student"]), content["conditions"])
