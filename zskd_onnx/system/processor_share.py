"""How much of a processor a thread of this program gets, beside other programs."""

from __future__ import annotations

import time


def processor_share(seconds: float = 0.3) -> float:
    """The share of a core, above 0 and at most 1, that this thread gets while it computes for some seconds."""
    begin, before = time.perf_counter(), time.thread_time()
    while (taken := time.perf_counter() - begin) < seconds:
        pass
    return min(1.0, max(0.01, (time.thread_time() - before) / taken))
