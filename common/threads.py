"""Work done in threads a bounded way ahead of whoever consumes it."""

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
    """Processors that this process may use (a container may allow fewer than there are)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Once(Generic[Result]):
    """A function without arguments whose result is made when it is first called, by one of the threads that call it."""

    def __init__(self, make: Callable[[], Result]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: list[Result] = []

    def __call__(self) -> Result:
        """What was made; an error is raised, and making is tried again by the next call."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


class Budget:
    """What threads may have at a time, all of them together; each waits until there is enough for it."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._changed = threading.Condition()

    @contextmanager
    def spent(self, amount: int) -> Iterator[None]:
        """Have an amount while the block runs; who asks for more than there is gets all, and so runs alone."""
        amount = min(amount, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()


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
