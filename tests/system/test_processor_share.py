"""The share of a processor that a thread gets."""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from time import monotonic, sleep

import pytest

from zskd_onnx.system.processor_share import processor_share


def _spin(seconds: float) -> None:
    end = monotonic() + seconds
    while monotonic() < end:
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs processors that can be chosen")
def test_programs_on_the_same_processor_take_their_share() -> None:
    """With three others on one processor, this thread gets about a quarter."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    others = [get_context("fork").Process(target=_spin, args=(3.0,), daemon=True) for _ in range(3)]
    try:
        for other in others:
            other.start()
        sleep(0.1)
        assert 0 < processor_share(1.0) < 0.5
    finally:
        for other in others:
            other.join()
        os.sched_setaffinity(0, allowed)
