"""Batches on several CPU threads, results in order.

Small nets gain little from torch's own threads and lose much when another program wants a core;
whole batches on threads of their own scale. Every batch has its own random generator, so results
do not depend on how many threads there are.
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


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int = 2
) -> Iterator[Result]:
    """``map(function, items)`` on worker threads.

    Args:
        workers: threads, each with one torch thread; the caller keeps the others of torch's
            threads for its own work. 0 calls in place.
        ahead: results that may wait for the caller.
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
