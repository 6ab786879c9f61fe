"""The pace of a training: its end by a number of steps, or by the time if that is earlier."""

from __future__ import annotations

import math
import time


class Pace:
    """Positions of a training, from 0 to its number of steps.

    Without a deadline, each step moves it by one. With a deadline, steps move it further, so that it is at the end when the time
    is up. The learning rate follows the position: a training that is cut short goes through its whole schedule.

    Attributes:
        steps: the position at the end.
        position: where the training is.
    """

    def __init__(self, steps: int, deadline: float | None, position: int = 0) -> None:
        """
        Args:
            deadline: seconds of ``time.monotonic``, or None.
            position: of a training that continues.
        """
        self.steps = steps
        self.position = position
        self._deadline = deadline
        self._begin = time.monotonic()
        self._first = position

    @property
    def ended(self) -> bool:
        """Whether the training is at its end."""
        return self.position >= self.steps

    def next_move(self) -> int:
        """By how much a step of the optimiser that ends now moves the position, 1 or more."""
        return min(self.steps, max(self.position + 1, self._by_time())) - self.position

    def move(self, by: int) -> None:
        """Move the position; where several processes work together, by the move of one of them."""
        self.position += by

    def _by_time(self) -> int:
        """The position at which the time that has gone by puts the training."""
        if self._deadline is None:
            return 0
        whole = self._deadline - self._begin
        share = (time.monotonic() - self._begin) / whole if whole > 0 else 1.0
        return self._first + math.ceil((self.steps - self._first) * min(1.0, share))
