"""A map on several CPU threads with results in order.

Small networks gain little from torch's own threads, and lose much when another program uses a core.
Whole batches on separate threads scale better. Every batch has its own random generator, so results do
not depend on the number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int = 2
) -> Iterator[Result]:
    """``map(function, items)`` on worker threads.

    Args:
        workers: number of threads; each uses one torch thread, and the caller keeps the rest of torch's
            threads. 0 runs in the calling thread.
        ahead: number of results that may be ready before the caller takes them.
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
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
