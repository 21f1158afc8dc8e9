"""Work done in threads a bounded way ahead of whoever consumes it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def processors() -> int:
    """Processors that this process may use (a container may allow fewer than there are)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, window: int
) -> Iterator[tuple[Item, Future[Result]]]:
    """`function(item)` of every item, in order, at most `window` begun and not yet given out: memory stays flat.

    Parameters: `workers`, threads. Gives (item, finished or running future); `future.result()` waits, and raises what
    the function raised. Closing the iterator cancels what has not begun.
    """
    pending: deque[tuple[Item, Future[Result]]] = deque()
    items = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="winnow")
    try:
        while True:
            for item in islice(items, window - len(pending)):
                pending.append((item, pool.submit(function, item)))
            if not pending:
                return
            yield pending.popleft()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
