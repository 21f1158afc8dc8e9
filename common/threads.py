"""Threads: results computed a bounded distance ahead of their consumer, shared budgets, values created on first use."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def processors() -> int:
    """Count the processors that this process may use (a container may allow fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Lazy(Generic[Result]):
    """A value that is created by the first call and returned by all later ones, from any thread.

    Parameters: `create`, creates the value; if it raises, the next call tries again.
    """

    def __init__(self, create: Callable[[], Result]) -> None:
        self._create, self._lock = create, threading.Lock()
        self._created: list[Result] = []

    def __call__(self) -> Result:
        """Return the value. Raises: whatever `create` raises."""
        with self._lock:
            if not self._created:
                self._created.append(self._create())
            return self._created[0]


class WeightedSemaphore:
    """A limit on what all threads hold together, of which each thread takes any amount.

    Parameters: `capacity`, the most that may be held at a time.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = self._available = capacity
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait until an amount is available and hold it during the block.

        More than the capacity counts as the whole capacity, so that such a block runs alone.
        """
        amount = min(amount, self._capacity)
        with self._changed:
            self._changed.wait_for(lambda: self._available >= amount)
            self._available -= amount
        try:
            yield
        finally:
            with self._changed:
                self._available += amount
                self._changed.notify_all()


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, window: int
) -> Iterator[tuple[Item, Future[Result]]]:
    """Call `function(item)` for every item in threads and yield (item, future) in the order of the items.

    At most `window` calls are started and not yet yielded, so memory use stays bounded. `future.result()` waits for the
    call and raises what it raised. Closing the iterator cancels the calls that have not started.

    Parameters: `workers`, number of threads.
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
