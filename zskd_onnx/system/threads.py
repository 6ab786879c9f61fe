"""A map on several CPU threads with results in order.

Small networks gain little from torch's own threads, and lose much when another program uses a core.
Whole batches on separate threads scale better. Every batch has its own random generator, so results do
not depend on the number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Event
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

REPORT_SECONDS = 1.0
"""Time between two reports of the steps of functions that are still running."""


class Steps:
    """The steps of long functions on worker threads: they are counted, and the next one ends a function that is cancelled.

    Attributes:
        count: number of steps so far.
        report: called in the caller's thread from time to time while it waits for a result.
    """

    def __init__(self, report: Callable[[], None]) -> None:
        self.count = 0
        self.report = report
        self._cancelled = Event()

    def __call__(self) -> None:
        """Count a step.

        Raises:
            CancelledError: the results are not wanted any more.
        """
        if self._cancelled.is_set():
            raise CancelledError
        self.count += 1

    def cancel(self) -> None:
        """End all functions at their next step."""
        self._cancelled.set()


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    ahead: int = 2,
    steps: Steps | None = None,
) -> Generator[Result]:
    """``map(function, items)`` on worker threads.

    Args:
        workers: number of threads; each uses one torch thread, and the caller keeps the rest of torch's
            threads. 0 runs in the calling thread.
        ahead: number of results that may be ready before the caller takes them.
        steps: which the function calls at each of its steps. Without it, a map that ends early waits for the functions
            that are running.
    """
    if workers == 0:
        yield from map(function, items)
        return
    threads = torch.get_num_threads()
    waiting: deque[Future[Result]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    torch.set_num_threads(max(1, threads - workers))
    try:
        while True:
            for item in islice(source, workers + ahead - len(waiting)):
                waiting.append(pool.submit(function, item))
            if not waiting:
                return
            first = waiting.popleft()
            while steps is not None and not wait([first], REPORT_SECONDS).done:
                steps.report()
            yield first.result()
    except BaseException:  # also GeneratorExit: the caller does not want the rest
        if steps is not None:
            steps.cancel()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
